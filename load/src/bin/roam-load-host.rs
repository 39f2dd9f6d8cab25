//! `roam-load-host LIBRARY LOG [KEY=VALUE...]`: the load, made by a library that is loaded at run time. This
//! program itself has neither registry nor probes.
#![allow(unsafe_code)]

use std::ffi::CString;

fn main() {
    let library = std::env::args().nth(1).expect("a library");
    let library = CString::new(library).expect("a name without zeros");
    // SAFETY: the library is this workspace's own and does nothing when it is loaded; its function takes
    // nothing and returns nothing.
    unsafe {
        let library = libc::dlopen(library.as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null(), "the library cannot be loaded");
        let symbol = libc::dlsym(library, c"roam_load_in_library".as_ptr());
        assert!(!symbol.is_null(), "the library lacks its function");
        let run = std::mem::transmute::<*mut libc::c_void, extern "C" fn()>(symbol);
        run();
    }
}
