//! A client that sets up a new link whenever it needs one and has none.

use std::any::type_name;
use std::io;
use std::sync::Arc;

use facet::Facet;
use roam_wire::Metadata;

use super::{ConnectionError, HandshakeConfig, RetryPolicy, initiate_framed};
use crate::record::ConnectAttempt;
use crate::runtime::{Mutex, sleep, spawn};
use crate::{
    Caller, ConnectError, ConnectionHandle, MessageTransport, ResponseData, ServiceDispatcher,
    TransportError,
};

/// Makes transports to one peer.
pub trait MessageConnector: Send + Sync + 'static {
    /// What it makes.
    type Transport: MessageTransport;

    /// Makes one.
    ///
    /// # Errors
    ///
    /// When there is no way to the peer now.
    fn connect(&self) -> impl Future<Output = io::Result<Self::Transport>> + Send;
}

/// A client that connects at its first call, tries again by the default [`RetryPolicy`], and serves what the
/// peer calls with `dispatcher`.
pub fn connect_framed<C, D>(
    connector: C,
    config: HandshakeConfig,
    dispatcher: D,
) -> FramedClient<C, D>
where
    C: MessageConnector,
    D: ServiceDispatcher + Clone,
{
    connect_framed_with_policy(connector, config, dispatcher, RetryPolicy::default())
}

/// The same with a policy of the caller's.
pub fn connect_framed_with_policy<C, D>(
    connector: C,
    config: HandshakeConfig,
    dispatcher: D,
    retry_policy: RetryPolicy,
) -> FramedClient<C, D>
where
    C: MessageConnector,
    D: ServiceDispatcher + Clone,
{
    FramedClient {
        connector: Arc::new(connector),
        config,
        dispatcher,
        retry_policy,
        link: Arc::new(Mutex::new(None)),
    }
}

/// A client that reconnects. Clones share its link.
///
/// A call that fails because the link did is made again over the next one, so a method may run twice.
pub struct FramedClient<C, D> {
    connector: Arc<C>,
    config: HandshakeConfig,
    dispatcher: D,
    retry_policy: RetryPolicy,
    link: Arc<Mutex<Option<ConnectionHandle>>>,
}

impl<C, D> Clone for FramedClient<C, D>
where
    D: Clone,
{
    fn clone(&self) -> Self {
        Self {
            connector: Arc::clone(&self.connector),
            config: self.config.clone(),
            dispatcher: self.dispatcher.clone(),
            retry_policy: self.retry_policy.clone(),
            link: Arc::clone(&self.link),
        }
    }
}

impl<C, D> FramedClient<C, D>
where
    C: MessageConnector,
    D: ServiceDispatcher + Clone + 'static,
{
    /// The link's handle, after connecting if there is no link.
    ///
    /// # Errors
    ///
    /// When connecting fails; it is tried once.
    pub async fn handle(&self) -> Result<ConnectionHandle, ConnectError> {
        self.connected(&mut Retries::new(&self.retry_policy)).await
    }

    /// Calls a method with encoded arguments, reconnecting if need be. Returns the encoded result.
    ///
    /// # Errors
    ///
    /// When the policy allows no further attempt.
    pub async fn call_raw(
        &self,
        method_id: u64,
        payload: Vec<u8>,
    ) -> Result<Vec<u8>, ConnectError> {
        let mut retries = Retries::new(&self.retry_policy);
        loop {
            let error = match self.connected(&mut retries).await {
                Ok(handle) => match handle.call_raw(method_id, payload.clone()).await {
                    Err(TransportError::ConnectionClosed | TransportError::DriverGone) => {
                        self.forget(&handle).await;
                        io::Error::new(io::ErrorKind::ConnectionReset, "connection closed")
                    }
                    result => return Ok(result?),
                },
                Err(ConnectError::ConnectFailed(error)) => error,
                Err(error) => return Err(error),
            };
            retries.back_off::<C::Transport>(error).await?;
        }
    }

    async fn connected(&self, retries: &mut Retries<'_>) -> Result<ConnectionHandle, ConnectError> {
        let mut link = self.link.lock().await;
        if let Some(handle) = &*link {
            return Ok(handle.clone());
        }
        let attempt = retries.attempt::<C::Transport>();
        attempt.connecting();
        let transport = self
            .connector
            .connect()
            .await
            .map_err(ConnectError::ConnectFailed)?;
        let (handle, incoming, driver) =
            initiate_framed(transport, self.config.clone(), self.dispatcher.clone())
                .await
                .map_err(ConnectionError::before_the_link)?;
        // Nobody listens: the peer's wishes for virtual connections are rejected.
        drop(incoming);
        spawn(async move {
            // How the link ended shows at its calls.
            let _ = driver.run().await;
        });
        retries.row = None;
        *link = Some(handle.clone());
        Ok(handle)
    }

    /// The link of `handle` is down: the next call sets up another one, if none did before.
    async fn forget(&self, handle: &ConnectionHandle) {
        let mut link = self.link.lock().await;
        if link.as_ref().is_some_and(|link| link.is_same(handle)) {
            *link = None;
        }
    }
}

impl<C, D> Caller for FramedClient<C, D>
where
    C: MessageConnector,
    D: ServiceDispatcher + Clone + 'static,
{
    async fn call_with_metadata<T: Facet<'static> + Send>(
        &self,
        method_id: u64,
        args: &mut T,
        metadata: Metadata,
    ) -> Result<ResponseData, TransportError> {
        let mut retries = Retries::new(&self.retry_policy);
        loop {
            let error = match self.connected(&mut retries).await {
                Ok(handle) => {
                    let call = handle.call_with_metadata(method_id, args, metadata.clone());
                    match call.await {
                        Err(TransportError::ConnectionClosed | TransportError::DriverGone) => {
                            self.forget(&handle).await;
                            io::Error::from(io::ErrorKind::ConnectionReset)
                        }
                        result => return result,
                    }
                }
                Err(ConnectError::ConnectFailed(error)) => error,
                Err(ConnectError::Rpc(error)) => return Err(error),
                Err(_) => return Err(TransportError::ConnectionClosed),
            };
            retries
                .back_off::<C::Transport>(error)
                .await
                .map_err(|_| TransportError::ConnectionClosed)?;
        }
    }

    /// Does nothing: the handle that the response came through may be gone. Channels in results want a
    /// [`ConnectionHandle`].
    fn bind_response_streams<R: Facet<'static>>(&self, _response: &mut R, _channels: &[u64]) {}
}

/// How often one call was tried, and the row that shows it while there is no link.
struct Retries<'a> {
    policy: &'a RetryPolicy,
    attempts: u32,
    last_error: Option<io::Error>,
    row: Option<ConnectAttempt>,
}

impl<'a> Retries<'a> {
    fn new(policy: &'a RetryPolicy) -> Self {
        Self {
            policy,
            attempts: 0,
            last_error: None,
            row: None,
        }
    }

    fn attempt<T>(&mut self) -> &mut ConnectAttempt {
        self.row
            .get_or_insert_with(|| ConnectAttempt::start(type_name::<T>()))
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    ///
    /// When there is to be none: with the error of the attempt before this one, or of this one where it
    /// was the first.
    async fn back_off<T>(&mut self, error: io::Error) -> Result<(), ConnectError> {
        self.attempts += 1;
        if self.attempts >= self.policy.max_attempts {
            return Err(ConnectError::RetriesExhausted {
                original: self.last_error.take().unwrap_or(error),
                attempts: self.attempts,
            });
        }
        self.last_error = Some(error);
        let attempts = self.attempts;
        self.attempt::<T>().backing_off(attempts);
        sleep(self.policy.backoff_for_attempt(attempts)).await;
        Ok(())
    }
}
