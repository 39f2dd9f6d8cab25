//! `debug!`: `tracing`'s with the feature of that name, nothing without it.

macro_rules! forward_to_tracing {
    ($dollar:tt $($level:ident)*) => {
        $(
            #[cfg(feature = "tracing")]
            macro_rules! $level {
                ($dollar($dollar arguments:tt)*) => { ::tracing::$level!($dollar($dollar arguments)*) };
            }

            #[cfg(not(feature = "tracing"))]
            macro_rules! $level {
                ($dollar($dollar arguments:tt)*) => {
                    ()
                };
            }
        )*
    };
}

forward_to_tracing!($ debug);
