//! Both ends of a link in one thread, without a runtime: what one end sends, the
//! other one handles.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Waker};

use futures_util::FutureExt;
use roam_wire::{MetadataValue, metadata_limits};

use super::*;
use crate::runtime::{Receiver, channel, oneshot};
use crate::{
    CallError, ChannelRegistry, Context, IncomingConnections, ResponseData, Rx, decode_response,
    dispatch_call, dispatch_unknown_method,
};

const DOUBLE: u64 = 1;
const HANG: u64 = 2;
const FIRST_ITEM: u64 = 3;

const MAX_PAYLOAD: u32 = 64;
const CREDIT: u32 = 16;

/// Doubles a number, never answers, or answers with a channel's first item.
#[derive(Default)]
struct Service {
    requests: Arc<AtomicUsize>,
}

impl ServiceDispatcher for Service {
    fn method_ids(&self) -> Vec<u64> {
        vec![DOUBLE, HANG, FIRST_ITEM]
    }

    fn dispatch(
        &self,
        cx: &Context,
        payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match cx.method_id.raw() {
            DOUBLE => dispatch_call(cx, payload, registry, |number: u32| async move {
                Ok::<_, ()>(number * 2)
            }),
            HANG => dispatch_call(cx, payload, registry, |_: ()| async move {
                std::future::pending::<Result<(), ()>>().await
            }),
            FIRST_ITEM => dispatch_call(cx, payload, registry, |mut rx: Rx<u32>| async move {
                rx.recv()
                    .await
                    .map_err(|_| ())
                    .map(Option::unwrap_or_default)
            }),
            _ => dispatch_unknown_method(cx, registry),
        }
    }
}

struct End {
    link: Link<Service>,
    queue: Receiver<DriverMessage>,
    answers: Receiver<Answer>,
    incoming: Option<IncomingConnections>,
    handlers: Vec<Pin<Box<Handler>>>,
    outbox: VecDeque<Message>,
    stalled: Option<Delivery>,
    is_closed: bool,
}

impl End {
    fn new(role: Role) -> Self {
        let (driver_tx, queue) = channel(64);
        let (offers, incoming) = channel(2);
        let (answers_tx, answers) = channel(2);
        let tracker = ConnectionTracker::open(&Opening {
            conn_id: ConnectionId::ROOT,
            role,
            link: None,
            transport: Some("test::Pair"),
            diagnostic_state: None,
            state: ConnectionState::Open,
            served_here: true,
        });
        let link = Link::new(LinkParts {
            role,
            negotiated: Negotiated {
                max_payload_size: MAX_PAYLOAD,
                initial_credit: CREDIT,
            },
            dispatcher: Service::default(),
            driver_tx,
            offers,
            answers: answers_tx,
            tracker,
        });
        Self {
            link,
            queue,
            answers,
            incoming: Some(incoming),
            handlers: Vec::new(),
            outbox: VecDeque::new(),
            stalled: None,
            is_closed: false,
        }
    }

    fn handle(&self) -> ConnectionHandle {
        self.link.root_handle().clone()
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Wait => {}
            Action::Send(outbound) | Action::SendWatched(outbound, _) => {
                self.outbox.push_back(outbound.message.clone());
                self.link.handle_sent(outbound);
            }
            Action::Run(handler, started) => {
                self.handlers.push(Box::pin(handler));
                self.link.handle_started(started, None);
            }
            Action::Deliver(delivery) => self.stalled = Some(delivery),
            Action::Close => self.is_closed = true,
        }
    }

    /// Does what can be done without the peer. Returns whether there was anything to do.
    fn work(&mut self) -> bool {
        let mut cx = TaskContext::from_waker(Waker::noop());
        self.handlers
            .retain_mut(|handler| handler.as_mut().poll(&mut cx).is_pending());
        let mut is_busy = false;
        while let Some(Some(message)) = self.queue.recv().now_or_never() {
            let action = self.link.handle_queued(message);
            self.act(action);
            is_busy = true;
        }
        while let Some(Some(answer)) = self.answers.recv().now_or_never() {
            let action = self.link.handle_answer(answer);
            self.act(action);
            is_busy = true;
        }
        is_busy
    }

    /// Takes a message of the peer's, and says Goodbye where that breaks a rule.
    fn receive(&mut self, message: Message) {
        match self.link.handle_message(message) {
            Ok(action) => self.act(action),
            Err(rule) => {
                let outbound = self.link.handle_violation(rule);
                self.outbox.push_back(outbound.message);
                self.is_closed = true;
            }
        }
    }

    fn sent(&mut self) -> Vec<Message> {
        self.work();
        self.outbox.drain(..).collect()
    }
}

struct Pair {
    initiator: End,
    acceptor: End,
}

impl Pair {
    fn new() -> Self {
        Self {
            initiator: End::new(Role::Initiator),
            acceptor: End::new(Role::Acceptor),
        }
    }

    /// Carries messages until neither end has anything to say.
    fn settle(&mut self) {
        loop {
            let mut is_busy = self.initiator.work() | self.acceptor.work();
            while let Some(message) = self.initiator.outbox.pop_front() {
                self.acceptor.receive(message);
                is_busy = true;
            }
            while let Some(message) = self.acceptor.outbox.pop_front() {
                self.initiator.receive(message);
                is_busy = true;
            }
            if !is_busy {
                return;
            }
        }
    }

    /// The result of a future that needs both ends.
    fn complete<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = Box::pin(future);
        for _ in 0..10 {
            if let Some(output) = (&mut future).now_or_never() {
                return output;
            }
            self.settle();
        }
        panic!("nothing more can happen, and the future waits");
    }

    fn connect(&mut self) -> (ConnectionHandle, ConnectionHandle) {
        let handle = self.initiator.handle();
        let mut connecting = Box::pin(async move { handle.connect(Vec::new(), None).await });
        assert!((&mut connecting).now_or_never().is_none());
        self.settle();
        let incoming = self.acceptor.incoming.as_mut().unwrap();
        let offer = incoming.recv().now_or_never().unwrap().unwrap();
        let theirs = self.complete(offer.accept(Vec::new(), None)).unwrap();
        (self.complete(connecting).unwrap(), theirs)
    }
}

fn request(request_id: u64, method_id: u64, payload: Vec<u8>) -> Message {
    Message::Request {
        conn_id: ConnectionId::ROOT,
        request_id,
        method_id,
        metadata: Vec::new(),
        channels: Vec::new(),
        payload,
    }
}

fn data(conn_id: u64, channel_id: u64, bytes: usize) -> Message {
    Message::Data {
        conn_id: ConnectionId::new(conn_id),
        channel_id,
        payload: vec![0; bytes],
    }
}

fn close(conn_id: u64, channel_id: u64) -> Message {
    Message::Close {
        conn_id: ConnectionId::new(conn_id),
        channel_id,
    }
}

fn result_of(response: Result<Vec<u8>, TransportError>) -> Result<u32, String> {
    let response = response.map_err(|error| error.to_string())?;
    decode_response::<u32, ()>(&response).map_err(|error: CallError<()>| error.to_string())
}

#[test]
fn a_call_is_answered_in_either_direction() {
    let mut pair = Pair::new();
    for handle in [pair.initiator.handle(), pair.acceptor.handle()] {
        let response = pair.complete(async { handle.call(DOUBLE, &mut 21_u32).await });
        assert_eq!(result_of(response.map(|it| it.payload)), Ok(42));
        let response = pair.complete(handle.call_raw(99, Vec::new()));
        assert_eq!(
            result_of(response),
            Err("roam error: UnknownMethod".to_owned())
        );
        let response = pair.complete(handle.call_raw(DOUBLE, Vec::new()));
        assert_eq!(
            result_of(response),
            Err("roam error: InvalidPayload".to_owned())
        );
    }
}

#[test]
fn request_ids_count_from_one() {
    let mut end = End::new(Role::Acceptor);
    let handle = end.handle();
    for expected in [1, 2] {
        assert!(handle.call_raw(DOUBLE, vec![1]).now_or_never().is_none());
        let sent = end.sent();
        let [Message::Request { request_id, .. }] = &sent[..] else {
            panic!("{sent:?}");
        };
        assert_eq!(*request_id, expected);
    }
}

#[test]
fn a_broken_rule_is_named_in_the_goodbye() {
    #[track_caller]
    fn check(messages: impl IntoIterator<Item = Message>, rule: &str) {
        let mut end = End::new(Role::Acceptor);
        for message in messages {
            assert!(!end.is_closed);
            end.receive(message);
        }
        let sent = end.sent();
        let Some(Message::Goodbye { conn_id, reason }) = sent.last() else {
            panic!("{sent:?}");
        };
        assert_eq!((conn_id.raw(), reason.as_str()), (0, rule));
    }

    let elsewhere = |message| match message {
        Message::Request {
            request_id,
            method_id,
            metadata,
            channels,
            payload,
            ..
        } => Message::Request {
            conn_id: ConnectionId::new(7),
            request_id,
            method_id,
            metadata,
            channels,
            payload,
        },
        other => other,
    };
    let with_metadata = Message::Request {
        conn_id: ConnectionId::ROOT,
        request_id: 1,
        method_id: HANG,
        metadata: vec![(String::new(), MetadataValue::U64(0)); metadata_limits::MAX_ENTRIES + 1],
        channels: Vec::new(),
        payload: Vec::new(),
    };
    let over_limit = MAX_PAYLOAD as usize + 1;
    let over_credit = CREDIT as usize + 1;

    check([data(0, 0, 1)], "channeling.id.zero-reserved");
    check([close(0, 0)], "channeling.id.zero-reserved");
    check([data(0, 9, 1)], "channeling.unknown");
    check([close(0, 9)], "channeling.unknown");
    check([data(0, 9, over_limit)], "flow.call.payload-limit");
    check(
        [request(1, HANG, vec![0; over_limit])],
        "flow.call.payload-limit",
    );
    check([data(7, 9, 1)], "message.conn-id");
    check([close(7, 9)], "message.conn-id");
    check([elsewhere(request(1, HANG, vec![]))], "message.conn-id");
    check(
        [request(1, HANG, vec![]), request(1, HANG, vec![])],
        "call.request-id.duplicate-detection",
    );
    check([with_metadata], "call.metadata.limits");
    check(
        [open_channel(1), data(0, 5, over_credit)],
        "flow.channel.credit-overrun",
    );
    check(
        [open_channel(1), data(0, 5, 8), data(0, 5, 8), data(0, 5, 1)],
        "flow.channel.credit-overrun",
    );
    check(
        [open_channel(1), close(0, 5), data(0, 5, 1)],
        "channeling.unknown",
    );
    check(
        [open_channel(1), close(0, 5), open_channel(2), data(0, 5, 1)],
        "channeling.data-after-close",
    );
}

/// A request that brings channel 5 with it.
fn open_channel(request_id: u64) -> Message {
    Message::Request {
        conn_id: ConnectionId::ROOT,
        request_id,
        method_id: FIRST_ITEM,
        metadata: Vec::new(),
        channels: vec![5],
        payload: vec![5],
    }
}

#[test]
fn what_is_no_message_breaks_a_rule_or_fails() {
    #[track_caller]
    fn check(frame: &[u8], kind: std::io::ErrorKind, expected: Result<(), Violation>) {
        assert_eq!(check_unreadable(frame, &kind.into()), expected);
    }

    use std::io::ErrorKind::{BrokenPipe, InvalidData};
    check(&[0, 1], InvalidData, Err("message.hello.unknown-version"));
    check(&[12], InvalidData, Err("message.unknown-variant"));
    check(&[255, 0], BrokenPipe, Err("message.unknown-variant"));
    check(&[5, 0], InvalidData, Err("message.decode-error"));
    check(&[], InvalidData, Err("message.decode-error"));
    check(&[5, 0], BrokenPipe, Ok(()));
    check(&[], BrokenPipe, Ok(()));
}

#[test]
fn what_comes_too_late_is_ignored() {
    let conn_id = ConnectionId::new(7);
    let root = ConnectionId::ROOT;
    let response = Message::Response {
        conn_id: root,
        request_id: 9,
        metadata: Vec::new(),
        channels: Vec::new(),
        payload: vec![0],
    };
    let messages = [
        Message::Hello(crate::HandshakeConfig::default().to_hello()),
        response,
        Message::Accept {
            request_id: 9,
            conn_id,
            metadata: Vec::new(),
        },
        Message::Reject {
            request_id: 9,
            reason: String::new(),
            metadata: Vec::new(),
        },
        Message::Goodbye {
            conn_id,
            reason: String::new(),
        },
        Message::Cancel {
            conn_id: root,
            request_id: 9,
        },
        Message::Reset {
            conn_id: root,
            channel_id: 9,
        },
        Message::Reset {
            conn_id,
            channel_id: 0,
        },
        Message::Credit {
            conn_id: root,
            channel_id: 9,
            bytes: 1,
        },
    ];
    let mut end = End::new(Role::Initiator);
    for message in messages {
        end.receive(message.clone());
        assert_eq!(end.sent(), [], "{message:?}");
        assert!(!end.is_closed, "{message:?}");
    }
}

#[test]
fn a_cancelled_request_is_answered_once() {
    let mut end = End::new(Role::Acceptor);
    end.receive(request(1, DOUBLE, vec![1]));
    // The handler's answer is queued, and overtaken by the cancellation.
    let mut cx = TaskContext::from_waker(Waker::noop());
    assert!(end.handlers[0].as_mut().poll(&mut cx).is_ready());
    end.receive(Message::Cancel {
        conn_id: ConnectionId::ROOT,
        request_id: 1,
    });
    let cancelled = |message: &Message| matches!(message, Message::Response { request_id: 1, payload, .. } if payload == &[1, 3]);
    let sent = end.outbox.drain(..).collect::<Vec<_>>();
    assert!(matches!(&sent[..], [only] if cancelled(only)), "{sent:?}");
    end.handlers.clear();
    assert_eq!(end.sent(), []);
}

#[test]
fn a_goodbye_fails_what_waits() {
    let mut pair = Pair::new();
    let handle = pair.initiator.handle();
    let mut call = Box::pin(handle.call_raw(HANG, Vec::new()));
    assert!((&mut call).now_or_never().is_none());
    pair.settle();
    pair.acceptor.receive(data(0, 0, 1));
    pair.settle();
    assert!(pair.initiator.is_closed);
    assert!(matches!(
        call.now_or_never(),
        Some(Err(TransportError::ConnectionClosed))
    ));
}

#[test]
fn a_broken_rule_leaves_no_call_waiting() {
    let mut end = End::new(Role::Initiator);
    let handle = end.handle();
    let mut call = Box::pin(handle.call_raw(HANG, Vec::new()));
    assert!((&mut call).now_or_never().is_none());
    end.work();
    end.receive(close(0, 9));
    assert!(matches!(
        call.now_or_never(),
        Some(Err(TransportError::ConnectionClosed))
    ));
}

#[test]
fn a_dropped_link_leaves_no_call_waiting() {
    let mut end = End::new(Role::Initiator);
    let handle = end.handle();
    let mut call = Box::pin(handle.call_raw(HANG, Vec::new()));
    assert!((&mut call).now_or_never().is_none());
    end.work();
    drop(end);
    assert!(matches!(
        call.now_or_never(),
        Some(Err(TransportError::DriverGone))
    ));
}

#[test]
fn calls_whose_callers_left_do_not_pile_up() {
    let mut end = End::new(Role::Initiator);
    let handle = end.handle();
    let call = || Box::pin(handle.call_raw(HANG, Vec::new()));
    let mut waiting: Vec<_> = (0..20).map(|_| call()).collect();
    for call in &mut waiting {
        assert!(call.now_or_never().is_none());
    }
    for _ in 0..1_000 {
        assert!(call().now_or_never().is_none());
        end.work();
    }
    let calls = end.link.root.calls_in_flight();
    assert!((20..=128).contains(&calls), "{calls}");

    // The first one and the last one: a late response to the latter is ignored.
    for request_id in [1, 1_020] {
        end.receive(Message::Response {
            conn_id: ConnectionId::ROOT,
            request_id,
            metadata: Vec::new(),
            channels: Vec::new(),
            payload: vec![0],
        });
    }
    assert!(
        waiting
            .remove(0)
            .now_or_never()
            .is_some_and(|it| it.is_ok())
    );
    assert!(!end.is_closed);
}

#[test]
fn virtual_connections_have_ids_of_the_acceptors() {
    let mut pair = Pair::new();
    for expected in [1, 2] {
        let (ours, theirs) = pair.connect();
        assert_eq!(
            (ours.conn_id().raw(), theirs.conn_id().raw()),
            (expected, expected)
        );
        for handle in [ours, theirs] {
            let response = pair.complete(async { handle.call(DOUBLE, &mut 4_u32).await });
            assert_eq!(result_of(response.map(|it| it.payload)), Ok(8));
        }
    }
}

#[test]
fn a_virtual_connection_is_served_by_its_own_dispatcher() {
    let mut pair = Pair::new();
    let requests = Arc::new(AtomicUsize::new(0));
    let own: Box<dyn ServiceDispatcher> = Box::new(Service {
        requests: requests.clone(),
    });
    let handle = pair.initiator.handle();
    let mut connecting = Box::pin(async move { handle.connect(Vec::new(), Some(own)).await });
    assert!((&mut connecting).now_or_never().is_none());
    pair.settle();
    let incoming = pair.acceptor.incoming.as_mut().unwrap();
    let offer = incoming.recv().now_or_never().unwrap().unwrap();
    let theirs = pair.complete(offer.accept(Vec::new(), None)).unwrap();
    pair.complete(connecting).unwrap();
    pair.complete(theirs.call_raw(DOUBLE, vec![1])).unwrap();
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}

#[test]
fn a_goodbye_of_a_virtual_connection_ends_that_one() {
    let mut pair = Pair::new();
    let (ours, _theirs) = pair.connect();
    let mut call = Box::pin(ours.call_raw(HANG, Vec::new()));
    assert!((&mut call).now_or_never().is_none());
    pair.settle();
    pair.initiator.receive(Message::Goodbye {
        conn_id: ours.conn_id(),
        reason: String::new(),
    });
    assert!(matches!(
        call.now_or_never(),
        Some(Err(TransportError::ConnectionClosed))
    ));
    assert!(!pair.initiator.is_closed);
    let after = pair.complete(ours.call_raw(DOUBLE, vec![1]));
    assert!(matches!(after, Err(TransportError::ConnectionClosed)));
    let root = pair.initiator.handle();
    assert_eq!(
        result_of(pair.complete(root.call_raw(DOUBLE, vec![1]))),
        Ok(2)
    );
}

#[test]
fn a_request_for_a_connection_is_rejected_with_the_reason() {
    #[track_caller]
    fn check(pair: &mut Pair, answer: impl FnOnce(&mut End), reason: &str) {
        let handle = pair.initiator.handle();
        let mut connecting = Box::pin(async move { handle.connect(Vec::new(), None).await });
        assert!((&mut connecting).now_or_never().is_none());
        pair.settle();
        answer(&mut pair.acceptor);
        match pair.complete(connecting) {
            Err(ConnectError::Rejected(given)) => assert_eq!(given, reason),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("accepted"),
        }
    }

    let mut pair = Pair::new();
    let reject = |end: &mut End| {
        let incoming = end.incoming.as_mut().unwrap();
        let offer = incoming.recv().now_or_never().unwrap().unwrap();
        offer.reject("no room".into(), Vec::new());
    };
    check(&mut pair, reject, "no room");
    pair.acceptor.incoming = None;
    check(&mut pair, |_| (), "not listening");
}

#[test]
fn a_full_receiver_stalls_the_link_until_it_is_read() {
    let mut end = End::new(Role::Initiator);
    let (tx, mut rx) = channel(1);
    end.handle().register_incoming(1, tx);
    end.receive(data(0, 1, 3));
    assert!(end.stalled.is_none());
    end.receive(data(0, 1, 4));
    let mut delivery = Box::pin(end.stalled.take().unwrap().deliver());
    assert!((&mut delivery).now_or_never().is_none());
    assert_eq!(
        rx.recv().now_or_never().flatten().map(|it| it.len()),
        Some(3)
    );
    assert!(delivery.now_or_never().is_some());
    assert_eq!(
        rx.recv().now_or_never().flatten().map(|it| it.len()),
        Some(4)
    );
}

#[test]
fn data_for_a_receiver_that_left_is_dropped() {
    let mut end = End::new(Role::Initiator);
    let (tx, rx) = channel(1);
    end.handle().register_incoming(1, tx);
    drop(rx);
    end.receive(data(0, 1, 3));
    assert!(end.stalled.is_none() && !end.is_closed);
}

#[test]
fn a_call_over_an_unknown_connection_fails() {
    let mut end = End::new(Role::Initiator);
    let (response_tx, response_rx) = oneshot::<Result<ResponseData, TransportError>>();
    let action = end.link.handle_queued(DriverMessage::Call {
        conn_id: ConnectionId::new(7),
        request_id: 1,
        method_id: DOUBLE,
        metadata: Vec::new(),
        channels: Vec::new(),
        payload: Vec::new(),
        response_tx,
    });
    end.act(action);
    assert_eq!(end.sent(), []);
    assert!(matches!(
        response_rx.now_or_never(),
        Some(Ok(Err(TransportError::ConnectionClosed)))
    ));
}

#[test]
fn a_channels_items_reach_the_handler() {
    let mut end = End::new(Role::Acceptor);
    end.receive(Message::Request {
        conn_id: ConnectionId::ROOT,
        request_id: 1,
        method_id: FIRST_ITEM,
        metadata: Vec::new(),
        channels: vec![3],
        // What the payload says does not count.
        payload: vec![99],
    });
    assert_eq!(end.sent(), []);
    end.receive(Message::Data {
        conn_id: ConnectionId::ROOT,
        channel_id: 3,
        payload: vec![11],
    });
    let sent = end.sent();
    let [Message::Response { payload, .. }] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(payload, &[0, 11]);
}
