//! `roam-load-host LIBRARY... LOG [KEY=VALUE...]`: the load, made by libraries that are loaded at run time,
//! each with a registry and probes of its own. This program itself has neither.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::thread;

fn main() {
    let words = std::env::args().skip(1);
    let libraries = words.take_while(|word| word.ends_with(".so"));
    let loads: Vec<_> = libraries
        .map(|library| {
            let run = load(&library);
            thread::spawn(move || run())
        })
        .collect();
    for load in loads {
        load.join().expect("the load comes through");
    }
}

/// Loads a library, and returns its load.
fn load(library: &str) -> extern "C" fn() {
    let library = CString::new(library).expect("a name without zeros");
    // SAFETY: the library is this workspace's own and does nothing when it is loaded; its function takes
    // nothing and returns nothing.
    unsafe {
        let library = libc::dlopen(library.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!library.is_null(), "the library cannot be loaded");
        let symbol = libc::dlsym(library, c"roam_load_in_library".as_ptr());
        assert!(!symbol.is_null(), "the library lacks its function");
        std::mem::transmute::<*mut libc::c_void, extern "C" fn()>(symbol)
    }
}
