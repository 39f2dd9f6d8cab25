//! What the driver needs of a transport: whole messages in, whole messages out.
//! Framing, sockets and encoding are the implementor's.

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
        /// else to do, so a dropped `recv` must not lose what it has read.
        $(#[$platform])*
        pub trait MessageTransport $($supertrait)* {
            /// Sends one message; done when the transport has taken all of it.
            ///
            /// # Errors
            ///
            /// When the message cannot be encoded or the peer cannot be reached any more.
            fn send(
                &mut self,
                msg: &Message,
            ) -> impl Future<Output = io::Result<()>> $($send)*;

            /// Receives one message, or `None` when the time is up or the peer closed the transport.
            ///
            /// # Errors
            ///
            /// When reading fails or what was read is no message.
            fn recv_timeout(
                &mut self,
                timeout: Duration,
            ) -> impl Future<Output = io::Result<Option<Message>>> $($send)*;

            /// Receives one message, or `None` when the peer closed the transport.
            ///
            /// # Errors
            ///
            /// When reading fails or what was read is no message.
            fn recv(&mut self) -> impl Future<Output = io::Result<Option<Message>>> $($send)*;

            /// The bytes of the last frame, which tell what an undecodable message was meant to be.
            fn last_decoded(&self) -> &[u8];
        }
    };
}

message_transport!(#[cfg(not(target_arch = "wasm32"))] supertraits [: Send] futures [+ Send]);
message_transport!(#[cfg(target_arch = "wasm32")] supertraits [] futures []);
