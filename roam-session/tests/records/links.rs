//! Links between a caller and a service that a test controls.

use std::pin::Pin;
use std::sync::Arc;

use roam_session::{
    ChannelRegistry, ConnectionHandle, Context, HandshakeConfig, IncomingConnections, NoDispatcher,
    Rx, ServiceDispatcher, Tx, accept_framed, dispatch_call, dispatch_call_infallible,
    dispatch_unknown_method, initiate_framed,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::wire::{self, Gate};

/// Answers with what it was given.
pub(crate) const ECHO: u64 = 0xec0;
/// Answers once [`Service::finish`] is notified.
pub(crate) const WAIT: u64 = 0x3a17;
/// Panics.
pub(crate) const PANIC: u64 = 0xbad;
/// Answers with something that does not serialize.
pub(crate) const UNSERIALIZABLE: u64 = 0xbad2;
/// Takes an `Rx<u32>`, reads as many items as [`Service::read`] has permits for, and then waits.
pub(crate) const CONSUME: u64 = 0xc0;
/// Takes a `Tx<String>`, sends "hello" twice, and waits.
pub(crate) const PRODUCE: u64 = 0xc1;
/// Calls [`WAIT`] upstream.
pub(crate) const RELAY: u64 = 0x1e1a;

/// Serves what the tests call, under their control.
#[derive(Clone, Default)]
pub(crate) struct Service {
    /// Lets handlers answer.
    pub(crate) finish: Arc<Notify>,
    /// Lets a consumer read an item.
    pub(crate) read: Arc<Notify>,
    /// Whom [`RELAY`] calls.
    pub(crate) upstream: Option<ConnectionHandle>,
}

impl ServiceDispatcher for Service {
    fn method_ids(&self) -> Vec<u64> {
        vec![ECHO, WAIT, PANIC, UNSERIALIZABLE, CONSUME, PRODUCE, RELAY]
    }

    fn dispatch(
        &self,
        cx: &Context,
        payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let Self {
            finish,
            read,
            upstream,
        } = self.clone();
        match cx.method_id.raw() {
            ECHO => dispatch_call_infallible(cx, payload, registry, |text: String| async { text }),
            WAIT => dispatch_call_infallible(cx, payload, registry, |(): ()| async move {
                finish.notified().await;
            }),
            PANIC => dispatch_call::<(), (), (), _, _>(cx, payload, registry, |()| async {
                panic!("as the test wants it")
            }),
            UNSERIALIZABLE => dispatch_call_infallible(cx, payload, registry, |(): ()| async {
                Unserializable { secret: Secret }
            }),
            CONSUME => dispatch_call(cx, payload, registry, |mut rx: Rx<u32>| async move {
                loop {
                    read.notified().await;
                    if !matches!(rx.recv().await, Ok(Some(_))) {
                        break;
                    }
                }
                drop(rx);
                finish.notified().await;
                Ok::<_, ()>(())
            }),
            PRODUCE => dispatch_call(cx, payload, registry, |tx: Tx<String>| async move {
                for _ in 0..2 {
                    tx.send(&"hello".to_owned()).await.map_err(|_| ())?;
                }
                finish.notified().await;
                drop(tx);
                finish.notified().await;
                Ok::<_, ()>(())
            }),
            RELAY => dispatch_call(cx, payload, registry, |(): ()| async move {
                let upstream = upstream.ok_or(())?;
                upstream.call(WAIT, &mut ()).await.map_err(|_| ())?;
                Ok::<_, ()>(())
            }),
            _ => dispatch_unknown_method(cx, registry),
        }
    }
}

/// A result with a part that facet knows nothing about.
#[derive(facet::Facet)]
struct Unserializable {
    #[facet(opaque)]
    secret: Secret,
}

struct Secret;

/// A link: its initiator is called `NAME caller`, its acceptor `NAME service`.
pub(crate) struct TestLink {
    pub(crate) caller: ConnectionHandle,
    pub(crate) service_incoming: IncomingConnections,
    pub(crate) caller_driver: JoinHandle<()>,
    pub(crate) caller_gate: Gate,
    pub(crate) service_gate: Gate,
    pub(crate) caller_name: String,
    pub(crate) service_name: String,
}

impl TestLink {
    pub(crate) async fn new(name: &str, service: impl ServiceDispatcher + 'static) -> Self {
        Self::with_config(name, service, HandshakeConfig::default()).await
    }

    pub(crate) async fn with_config(
        name: &str,
        service: impl ServiceDispatcher + 'static,
        config: HandshakeConfig,
    ) -> Self {
        let (left, right) = wire::pair();
        let gates = (left.gate(), right.gate());
        let (initiated, accepted) = tokio::join!(
            initiate_framed(left, config.clone(), NoDispatcher),
            accept_framed(right, config, service),
        );
        let (caller, _, caller_driver) = initiated.unwrap();
        let (service, service_incoming, service_driver) = accepted.unwrap();
        let caller_name = format!("{name} caller");
        let service_name = format!("{name} service");
        caller.set_diagnostic_name(&caller_name);
        service.set_diagnostic_name(&service_name);
        tokio::spawn(async move {
            let _ = service_driver.run().await;
        });
        Self {
            caller,
            service_incoming,
            caller_driver: tokio::spawn(async move {
                let _ = caller_driver.run().await;
            }),
            caller_gate: gates.0,
            service_gate: gates.1,
            caller_name,
            service_name,
        }
    }

    /// Ends the caller's side of the link as if its process were gone.
    pub(crate) fn cut(&self) {
        self.caller_driver.abort();
    }
}
