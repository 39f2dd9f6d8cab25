//! The same as `roam-load`; tests link it statically.

fn main() {
    roam_load::run();
}
