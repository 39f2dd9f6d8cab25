//! The load as a library, for `roam-load-host`. Tests have cargo build it.

/// The whole program.
#[unsafe(no_mangle)]
#[allow(unsafe_code)]
extern "C" fn roam_load_in_library() {
    roam_load::run();
}
