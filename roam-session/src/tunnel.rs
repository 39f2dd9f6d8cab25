//! A pair of byte channels as one two-way stream, and the functions that connect
//! it with a socket.

use facet::Facet;

use crate::{Rx, Tx, channel};

#[cfg(not(target_arch = "wasm32"))]
pub use pump::{DEFAULT_TUNNEL_CHUNK_SIZE, pump_read_to_tx, pump_rx_to_write, tunnel_stream};

/// Holds one end of a two-way byte stream.
#[derive(Facet)]
pub struct Tunnel {
    /// Sends to the other end.
    pub tx: Tx<Vec<u8>>,
    /// Receives from the other end.
    pub rx: Rx<Vec<u8>>,
}

/// Creates the two ends of a stream. Use one end, and pass the other in a call.
pub fn tunnel_pair() -> (Tunnel, Tunnel) {
    let (to_right, from_left) = channel::<Vec<u8>>();
    let (to_left, from_right) = channel::<Vec<u8>>();
    (
        Tunnel {
            tx: to_right,
            rx: from_right,
        },
        Tunnel {
            tx: to_left,
            rx: from_left,
        },
    )
}

#[cfg(not(target_arch = "wasm32"))]
mod pump {
    use std::io;

    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::Tunnel;
    use crate::{Rx, Tx};

    /// Bytes that [`pump_read_to_tx`] reads at a time by default.
    pub const DEFAULT_TUNNEL_CHUNK_SIZE: usize = 32 * 1024;

    /// Sends the bytes of `reader` in items of at most `chunk_size` bytes, until `reader` ends or the receiver is
    /// gone.
    ///
    /// # Errors
    ///
    /// Fails if `reader` fails.
    pub async fn pump_read_to_tx<R: AsyncRead + Unpin>(
        mut reader: R,
        tx: Tx<Vec<u8>>,
        chunk_size: usize,
    ) -> io::Result<()> {
        let mut chunk = vec![0; chunk_size];
        loop {
            let bytes = reader.read(&mut chunk).await?;
            if bytes == 0 || tx.send(&chunk[..bytes].to_vec()).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Writes the items of `rx`, and flushes when the channel ends.
    ///
    /// # Errors
    ///
    /// Fails if `writer` fails, or if an item cannot be decoded.
    pub async fn pump_rx_to_write<W: AsyncWrite + Unpin>(
        mut rx: Rx<Vec<u8>>,
        mut writer: W,
    ) -> io::Result<()> {
        loop {
            let item = rx.recv().await.map_err(|error| {
                let reason = format!("tunnel receive error: {error}");
                io::Error::new(io::ErrorKind::InvalidData, reason)
            })?;
            match item {
                Some(bytes) => writer.write_all(&bytes).await?,
                None => return writer.flush().await,
            }
        }
    }

    /// Connects a stream with one end of a tunnel. Spawns one task for each direction and returns them: first the
    /// one that reads from the stream, then the one that writes to it.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime.
    pub fn tunnel_stream<S>(
        stream: S,
        tunnel: Tunnel,
        chunk_size: usize,
    ) -> (JoinHandle<io::Result<()>>, JoinHandle<io::Result<()>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        let Tunnel { tx, rx } = tunnel;
        (
            tokio::spawn(pump_read_to_tx(reader, tx, chunk_size)),
            tokio::spawn(pump_rx_to_write(rx, writer)),
        )
    }
}
