//! What the driver needs of a transport: whole messages in, whole messages out.
//! The implementation frames and encodes them.

use std::io;
use std::time::Duration;

use roam_wire::Message;

/// Declares the trait once per platform: natively its futures move between threads, in a browser
/// nothing is `Send`.
macro_rules! message_transport {
    ($(#[$platform:meta])* supertraits [$($supertrait:tt)*] futures [$($send:tt)*]) => {
        /// Carries whole messages between two ends.
        ///
        /// The driver polls [`recv`](Self::recv) and drops its future as soon as it has something
        /// else to do. A dropped `recv` must therefore not lose what it has read.
        ///
        /// [`send`](Self::send) borrows the transport until it has written everything, so the driver
        /// reads nothing meanwhile.
        $(#[$platform])*
        pub trait MessageTransport $($supertrait)* {
            /// Sends one message. Returns when the transport has taken all of it.
            ///
            /// # Errors
            ///
            /// Fails if the message cannot be encoded, or if the peer cannot be reached any more.
            fn send(
                &mut self,
                msg: &Message,
            ) -> impl Future<Output = io::Result<()>> $($send)*;

            /// Receives one message. Returns `None` after `timeout`, or if the peer closed the transport.
            ///
            /// # Errors
            ///
            /// Fails if reading fails, or if the bytes are not a message.
            fn recv_timeout(
                &mut self,
                timeout: Duration,
            ) -> impl Future<Output = io::Result<Option<Message>>> $($send)*;

            /// Receives one message. Returns `None` if the peer closed the transport.
            ///
            /// # Errors
            ///
            /// Fails if reading fails, or if the bytes are not a message.
            fn recv(&mut self) -> impl Future<Output = io::Result<Option<Message>>> $($send)*;

            /// Returns the bytes of the last frame. The driver reads in them why a message cannot be decoded.
            fn last_decoded(&self) -> &[u8];
        }
    };
}

message_transport!(#[cfg(not(target_arch = "wasm32"))] supertraits [: Send] futures [+ Send]);
message_transport!(#[cfg(target_arch = "wasm32")] supertraits [] futures []);
