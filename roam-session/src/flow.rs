//! The seam for credit-based flow control. The session drives none: see the
//! credit rules in [`ChannelRegistry`](crate::ChannelRegistry).

use std::io;

use crate::ChannelId;

/// How one transport grants and takes channel credit.
pub trait FlowControl: Send {
    /// Data came in on a channel; credit for it may be granted back.
    fn on_data_received(&mut self, channel_id: ChannelId, bytes: u32);

    /// Waits until `bytes` may be sent on a channel.
    ///
    /// # Errors
    ///
    /// When the channel is closed or unknown.
    fn wait_for_send_credit(
        &mut self,
        channel_id: ChannelId,
        bytes: u32,
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// `bytes` were sent on a channel.
    fn consume_send_credit(&mut self, channel_id: ChannelId, bytes: u32);
}

/// Credit that never runs out.
#[derive(Debug, Clone, Copy, Default)]
pub struct InfiniteCredit;

impl FlowControl for InfiniteCredit {
    fn on_data_received(&mut self, _channel_id: ChannelId, _bytes: u32) {}

    async fn wait_for_send_credit(
        &mut self,
        _channel_id: ChannelId,
        _bytes: u32,
    ) -> io::Result<()> {
        Ok(())
    }

    fn consume_send_credit(&mut self, _channel_id: ChannelId, _bytes: u32) {}
}
