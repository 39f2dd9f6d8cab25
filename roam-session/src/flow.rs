//! The published interface of credit-based flow control, which this crate never
//! uses: [`ChannelRegistry`](crate::ChannelRegistry) has the rules of credit.

use std::io;

use crate::ChannelId;

/// Grants and takes the credit of channels for one transport.
pub trait FlowControl: Send {
    /// Notes that `bytes` were received on a channel, so that credit for them can be granted.
    fn on_data_received(&mut self, channel_id: ChannelId, bytes: u32);

    /// Waits until `bytes` may be sent on a channel.
    ///
    /// # Errors
    ///
    /// Fails if the channel is closed or unknown.
    fn wait_for_send_credit(
        &mut self,
        channel_id: ChannelId,
        bytes: u32,
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// Notes that `bytes` were sent on a channel.
    fn consume_send_credit(&mut self, channel_id: ChannelId, bytes: u32);
}

/// Grants credit that never runs out.
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
