//! A pair of byte channels as one two-way stream, and the pumps that connect it
//! to a socket.

use facet::Facet;

use crate::{Rx, Tx, channel};

#[cfg(not(target_arch = "wasm32"))]
pub use pump::{DEFAULT_TUNNEL_CHUNK_SIZE, pump_read_to_tx, pump_rx_to_write, tunnel_stream};

/// One end of a two-way byte stream.
#[derive(Facet)]
pub struct Tunnel {
    /// To the other end.
    pub tx: Tx<Vec<u8>>,
    /// From the other end.
    pub rx: Rx<Vec<u8>>,
}

/// Two ends that are connected: keep one, pass the other in a call.
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

    /// How many bytes a pump reads at a time unless told otherwise.
    pub const DEFAULT_TUNNEL_CHUNK_SIZE: usize = 32 * 1024;

    /// Sends what `reader` gives, at most `chunk_size` bytes an item, until it ends or nobody receives.
    ///
    /// # Errors
    ///
    /// When reading fails.
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

    /// Writes what `rx` receives, and flushes when the channel ends.
    ///
    /// # Errors
    ///
    /// When writing fails or an item does not decode.
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

    /// Connects a stream with a tunnel's end: one task a direction, in the order read, write.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
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
