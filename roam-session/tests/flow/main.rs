//! Two busy ends of a transport that does not hold much: neither may wait for the
//! other for ever.

mod reconnect;

use std::io;
use std::pin::Pin;
use std::time::Duration;

use roam_session::{
    ChannelRegistry, ConnectionHandle, Context, ForwardingDispatcher, HandshakeConfig,
    LateBoundForwarder, LateBoundHandle, MessageTransport, NoDispatcher, Rx, ServiceDispatcher, Tx,
    accept_framed, channel, decode_response, dispatch_call, dispatch_call_infallible,
    initiate_framed,
};
use roam_wire::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Messages that a transport holds in each direction: what a unix socket does of small ones.
const ROOM: usize = 270;
/// Nothing in here takes a tenth of it.
const DEADLINE: Duration = Duration::from_secs(60);

const DOUBLE: u64 = 1;
const COUNT_TO: u64 = 2;
const SUM: u64 = 3;

struct Pipe {
    to_peer: mpsc::Sender<Message>,
    from_peer: mpsc::Receiver<Message>,
}

fn pipe() -> (Pipe, Pipe) {
    let (to_right, from_left) = mpsc::channel(ROOM);
    let (to_left, from_right) = mpsc::channel(ROOM);
    let end = |to_peer, from_peer| Pipe { to_peer, from_peer };
    (end(to_right, from_right), end(to_left, from_left))
}

impl MessageTransport for Pipe {
    async fn send(&mut self, msg: &Message) -> io::Result<()> {
        let sent = self.to_peer.send(msg.clone()).await;
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    async fn recv_timeout(&mut self, _timeout: Duration) -> io::Result<Option<Message>> {
        self.recv().await
    }

    async fn recv(&mut self) -> io::Result<Option<Message>> {
        Ok(self.from_peer.recv().await)
    }

    fn last_decoded(&self) -> &[u8] {
        &[]
    }
}

/// Doubles numbers, counts, and adds up.
#[derive(Clone)]
struct Arithmetic;

impl ServiceDispatcher for Arithmetic {
    fn method_ids(&self) -> Vec<u64> {
        vec![DOUBLE, COUNT_TO, SUM]
    }

    fn dispatch(
        &self,
        cx: &Context,
        payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        match cx.method_id.raw() {
            DOUBLE => {
                dispatch_call_infallible(cx, payload, registry, |it: u32| async move { it * 2 })
            }
            COUNT_TO => {
                let count = |(end, tx): (u32, Tx<u32>)| async move {
                    for number in 0..end {
                        tx.send(&number).await.map_err(|_| ())?;
                    }
                    Ok::<_, ()>(())
                };
                dispatch_call(cx, payload, registry, count)
            }
            _ => dispatch_call_infallible(cx, payload, registry, |mut rx: Rx<u32>| async move {
                let mut sum = 0_u64;
                while let Ok(Some(number)) = rx.recv().await {
                    sum += u64::from(number);
                }
                sum
            }),
        }
    }
}

async fn link(
    initiator: impl ServiceDispatcher + 'static,
    acceptor: impl ServiceDispatcher + 'static,
) -> (ConnectionHandle, ConnectionHandle) {
    let (left, right) = pipe();
    let config = HandshakeConfig::default();
    let (initiated, accepted) = tokio::join!(
        initiate_framed(left, config.clone(), initiator),
        accept_framed(right, config, acceptor),
    );
    let (left, _, driver) = initiated.unwrap();
    tokio::spawn(driver.run());
    let (right, _, driver) = accepted.unwrap();
    tokio::spawn(driver.run());
    (left, right)
}

async fn double(handle: ConnectionHandle, number: u32) -> u32 {
    let response = handle.call(DOUBLE, &mut { number }).await.unwrap();
    decode_response::<u32, ()>(&response.payload).unwrap()
}

async fn count_to(handle: ConnectionHandle, end: u32) -> Vec<u32> {
    let (tx, mut rx) = channel::<u32>();
    let call = tokio::spawn(async move { handle.call(COUNT_TO, &mut (end, tx)).await.is_ok() });
    let mut numbers = Vec::new();
    while let Some(number) = rx.recv().await.unwrap() {
        numbers.push(number);
    }
    assert!(call.await.unwrap());
    numbers
}

async fn sum_up_to(handle: ConnectionHandle, end: u32) -> u64 {
    let (tx, rx) = channel::<u32>();
    let sending = tokio::spawn(async move {
        for number in 0..end {
            tx.send(&number).await.unwrap();
        }
    });
    let response = handle.call(SUM, &mut { rx }).await.unwrap();
    sending.await.unwrap();
    decode_response::<u64, ()>(&response.payload).unwrap()
}

async fn check_calls_in_both_directions() {
    let (left, right) = link(Arithmetic, Arithmetic).await;
    let mut calls = JoinSet::new();
    for number in 0..2_000 {
        for handle in [left.clone(), right.clone()] {
            calls.spawn(async move { assert_eq!(double(handle, number).await, 2 * number) });
        }
    }
    while let Some(call) = timeout(DEADLINE, calls.join_next()).await.unwrap() {
        call.unwrap();
    }
}

#[tokio::test]
async fn many_calls_in_both_directions_end_on_one_thread() {
    check_calls_in_both_directions().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn many_calls_in_both_directions_end_on_several_threads() {
    check_calls_in_both_directions().await;
}

/// A proxy whose upstream is the very link that its requests come over, so that every item goes over it
/// three times.
async fn check_a_proxy_on_its_own_link() {
    let upstream = LateBoundHandle::new();
    let (left, right) = link(Arithmetic, LateBoundForwarder::new(upstream.clone())).await;
    upstream.set(right);
    let end = 3_000;
    let numbers = timeout(DEADLINE, count_to(left.clone(), end))
        .await
        .unwrap();
    assert_eq!(numbers, (0..end).collect::<Vec<_>>());
    let sum = timeout(DEADLINE, sum_up_to(left, end)).await.unwrap();
    assert_eq!(sum, u64::from(end) * u64::from(end - 1) / 2);
}

#[tokio::test]
async fn a_proxy_on_its_own_link_ends_on_one_thread() {
    check_a_proxy_on_its_own_link().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_proxy_on_its_own_link_ends_on_several_threads() {
    check_a_proxy_on_its_own_link().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_chain_of_proxies_passes_everything_on() {
    let (upstream, _service) = link(NoDispatcher, Arithmetic).await;
    let proxy = ForwardingDispatcher::new(upstream);
    let (middle, _proxy) = link(NoDispatcher, proxy).await;
    let proxy = ForwardingDispatcher::new(middle);
    let (caller, _proxy) = link(NoDispatcher, proxy).await;
    let end = 3_000;
    let numbers = timeout(DEADLINE, count_to(caller.clone(), end))
        .await
        .unwrap();
    assert_eq!(numbers, (0..end).collect::<Vec<_>>());
    let sum = timeout(DEADLINE, sum_up_to(caller.clone(), end))
        .await
        .unwrap();
    assert_eq!(sum, u64::from(end) * u64::from(end - 1) / 2);
    assert_eq!(double(caller, 21).await, 42);
}
