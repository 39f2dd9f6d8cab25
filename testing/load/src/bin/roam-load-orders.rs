//! `roam-load-orders`, see [`roam_load::run_orders`].

fn main() {
    roam_load::run_orders();
}
