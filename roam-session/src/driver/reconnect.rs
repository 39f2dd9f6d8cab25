//! A client that sets up a new link whenever it needs one and has none.

use std::any::type_name;
use std::io;
use std::sync::Arc;

use facet::Facet;
use roam_wire::Metadata;

use super::{ConnectionError, HandshakeConfig, RetryPolicy, initiate_framed};
use crate::record::{Outage, Waiting};
use crate::runtime::{Mutex, sleep, spawn};
use crate::{
    Caller, ConnectError, ConnectionHandle, MessageTransport, ResponseData, ServiceDispatcher,
    TransportError,
};

/// Opens transports to one peer.
pub trait MessageConnector: Send + Sync + 'static {
    /// Type of the transports.
    type Transport: MessageTransport;

    /// Opens a transport.
    ///
    /// # Errors
    ///
    /// Fails if the peer cannot be reached now.
    fn connect(&self) -> impl Future<Output = io::Result<Self::Transport>> + Send;
}

/// Creates a client that connects at its first call, retries by the default [`RetryPolicy`], and serves the
/// peer's calls with `dispatcher`.
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

/// Creates a client as [`connect_framed`] does, which retries by `retry_policy`.
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
        link: Arc::default(),
        outage: Arc::default(),
    }
}

/// Calls a peer, and reconnects when the link fails. Clones share the link.
///
/// A call that fails because of its link is made again over the next link, so a method may run twice. The
/// [`RetryPolicy`] says how often.
pub struct FramedClient<C, D> {
    connector: Arc<C>,
    config: HandshakeConfig,
    dispatcher: D,
    retry_policy: RetryPolicy,
    /// `None` until the client has connected, anew if the last link is down.
    link: Arc<Mutex<Option<ConnectionHandle>>>,
    outage: Arc<Outage>,
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
            outage: Arc::clone(&self.outage),
        }
    }
}

impl<C, D> FramedClient<C, D>
where
    C: MessageConnector,
    D: ServiceDispatcher + Clone + 'static,
{
    /// Returns the handle of the link. If there is no link, tries once to set one up.
    ///
    /// # Errors
    ///
    /// Fails if that attempt fails.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime if it sets up a link, because a task runs the driver.
    pub async fn handle(&self) -> Result<ConnectionHandle, ConnectError> {
        self.connected().await
    }

    /// Calls a method with encoded arguments, and reconnects if necessary. Returns the encoded result.
    ///
    /// # Errors
    ///
    /// Fails if the last attempt that the policy allows fails.
    ///
    /// # Panics
    ///
    /// See [`Self::handle`].
    pub async fn call_raw(
        &self,
        method_id: u64,
        payload: Vec<u8>,
    ) -> Result<Vec<u8>, ConnectError> {
        let mut retries = Retries::new(&self.retry_policy, &self.outage);
        loop {
            let error = match self.connected().await {
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
            retries.back_off(error).await?;
        }
    }

    async fn connected(&self) -> Result<ConnectionHandle, ConnectError> {
        let link = &mut *self.link.lock().await;
        if let Some(handle) = link {
            return Ok(handle.clone());
        }
        let attempt = self.outage.attempt(type_name::<C::Transport>());
        match self.connect().await {
            Ok(handle) => {
                attempt.succeeded(handle.shared.registration.connection());
                *link = Some(handle.clone());
                Ok(handle)
            }
            Err(error) => {
                attempt.failed(&match &error {
                    ConnectError::ConnectFailed(error) => error.to_string(),
                    error => error.to_string(),
                });
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<ConnectionHandle, ConnectError> {
        let transport = self
            .connector
            .connect()
            .await
            .map_err(ConnectError::ConnectFailed)?;
        let (handle, incoming, driver) =
            initiate_framed(transport, self.config.clone(), self.dispatcher.clone())
                .await
                .map_err(ConnectionError::before_the_link)?;
        // The peer's requests for virtual connections are rejected.
        drop(incoming);
        spawn(async move {
            // The calls on the link fail with it.
            let _ = driver.run().await;
        });
        Ok(handle)
    }

    /// The link of `handle` is down: the next call sets up another one, if none did before.
    async fn forget(&self, handle: &ConnectionHandle) {
        let mut link = self.link.lock().await;
        if link.as_ref().is_some_and(|link| link.is_same(handle)) {
            *link = None;
            self.outage.link_lost(type_name::<C::Transport>());
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
        let mut retries = Retries::new(&self.retry_policy, &self.outage);
        loop {
            let error = match self.connected().await {
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
                .back_off(error)
                .await
                .map_err(|_| TransportError::ConnectionClosed)?;
        }
    }

    /// Does nothing, because the link of the response may be gone. To receive on channels of a result, call
    /// through a [`ConnectionHandle`].
    fn bind_response_streams<R: Facet<'static>>(&self, _response: &mut R, _channels: &[u64]) {}
}

/// The attempts of one call.
struct Retries<'a> {
    policy: &'a RetryPolicy,
    outage: &'a Outage,
    attempts: u32,
    last_error: Option<io::Error>,
    /// From the first failed attempt on.
    waiting: Option<Waiting<'a>>,
}

impl<'a> Retries<'a> {
    fn new(policy: &'a RetryPolicy, outage: &'a Outage) -> Self {
        Self {
            policy,
            outage,
            attempts: 0,
            last_error: None,
            waiting: None,
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    ///
    /// Fails if the policy allows no further attempt: with the error of the attempt before this one, or of this
    /// one if it was the first.
    async fn back_off(&mut self, error: io::Error) -> Result<(), ConnectError> {
        self.attempts += 1;
        if self.attempts >= self.policy.max_attempts {
            return Err(ConnectError::RetriesExhausted {
                original: self.last_error.take().unwrap_or(error),
                attempts: self.attempts,
            });
        }
        self.last_error = Some(error);
        self.waiting.get_or_insert_with(|| self.outage.wait());
        sleep(self.policy.backoff_for_attempt(self.attempts)).await;
        Ok(())
    }
}
