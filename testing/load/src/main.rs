//! `roam-load LOG [KEY=VALUE...]`, see [`roam_load::run`].

fn main() {
    roam_load::run();
}
