//! The suites: what one side of a link does to the other over a handle. Each runs in both directions and,
//! where it can, over virtual connections and through forwarders, and writes only what is deterministic.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::join_all;
use roam::{RxError, Tunnel, channel, tunnel_pair};
use roam_session::{ConnectionHandle, RoamError, decode_response, tunnel_stream};
use roam_wire::MetadataValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::opaque::OPAQUE;
use crate::service::{ControlClient, PeerClient, Shape, Streams, kind_of, peer_method_id};
use crate::transcript::Transcript;

/// Also a suite: both sides at once with many calls can block each other's writes for ever in 0.6.
pub const FEW_CONCURRENT: &str = "few-concurrent";

/// Every suite that runs on an ordinary link, in both directions.
pub const SUITES: [&str; 14] = [
    "unary",
    "large",
    "errors",
    "metadata",
    "channels",
    "nested-channels",
    "tunnel",
    "no-answer",
    "dropped",
    "nested-calls",
    "virtual",
    "forwarding",
    "concurrent",
    "overrun",
];

/// Nothing here takes a tenth of this; a suite that does hangs.
const DEADLINE: Duration = Duration::from_secs(20);
/// Long enough for an answer to arrive that must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// Runs one suite; one that hangs says so where it stands.
pub async fn run(suite: &str, handle: ConnectionHandle) -> Vec<String> {
    let mut log = Transcript::default();
    if tokio::time::timeout(DEADLINE, dispatch(suite, &handle, &mut log))
        .await
        .is_err()
    {
        log.note("HUNG", suite);
    }
    log.0
}

async fn dispatch(suite: &str, handle: &ConnectionHandle, log: &mut Transcript) {
    match suite {
        "unary" => unary(handle, log).await,
        "large" => large(handle, log).await,
        "errors" => errors(handle, log).await,
        "metadata" => metadata(handle, log).await,
        "channels" => channels(handle, log).await,
        "nested-channels" => nested_channels(handle, log).await,
        "tunnel" => tunnel(handle, log).await,
        "no-answer" => no_answer(handle, log).await,
        "dropped" => dropped(handle, log).await,
        "nested-calls" => nested_calls(handle, log).await,
        "virtual" => virtual_connections(handle, log).await,
        "forwarding" => forwarding(handle, log).await,
        "concurrent" => concurrent(1000, handle, log).await,
        FEW_CONCURRENT => concurrent(100, handle, log).await,
        "overrun" => overrun(handle, log).await,
        unknown => log.note("NO SUCH SUITE", unknown),
    }
}

async fn unary(handle: &ConnectionHandle, log: &mut Transcript) {
    let peer = PeerClient::new(handle.clone());
    log.note("echo", peer.echo("grüße".to_owned()).await);
    log.note("nothing", peer.nothing().await);
    log.note("add", peer.add(-7, i64::from(u32::MAX)).await);
    log.note("divide", peer.divide(84, 2).await);
    let polygon = Shape::Polygon {
        name: "triangle".to_owned(),
        corners: vec![(0, 0), (4, 0), (0, -3)],
    };
    let shapes = vec![
        Some(polygon),
        None,
        Some(Shape::Circle(0.5)),
        Some(Shape::Point),
    ];
    log.note("shapes", peer.shapes(shapes).await);
}

/// Around the edges of a COBS block, and close to the payload limit.
async fn large(handle: &ConnectionHandle, log: &mut Transcript) {
    let peer = PeerClient::new(handle.clone());
    for length in [0, 1, 253, 254, 255, 256, 65_536, 900_000] {
        let blob = peer.blob(length).await.map(|blob| checksum(&blob));
        let text = "x".repeat(length as usize);
        let echo = peer.echo(text).await.map(|text| text.len());
        log.note("blob and echo", (length, blob, echo));
    }
}

async fn errors(handle: &ConnectionHandle, log: &mut Transcript) {
    let peer = PeerClient::new(handle.clone());
    log.note("user error", peer.divide(7, 0).await);
    log.note("other user error", peer.divide(i64::MIN, -1).await);
    log.note(
        "unknown method",
        handle.call_raw(0xdead_beef, vec![1, 2, 3]).await,
    );
    let divide = peer_method_id::divide();
    for payload in [vec![], vec![0xff; 3], vec![2]] {
        let answer = handle.call_raw(divide, payload.clone()).await;
        log.note("invalid payload", (&payload, &answer));
        if let Ok(answer) = answer {
            let decoded = decode_response::<i64, crate::service::MathError>(&answer);
            log.note("decoded", decoded);
        }
    }
    let echo = peer_method_id::echo();
    let answer = handle.call(echo, &mut ("typed by hand".to_owned(),)).await;
    log.note("call", answer);
    let cancelled: RoamError<()> = RoamError::Cancelled;
    log.note("error value", cancelled);
    log.note("still there", peer.echo("yes".to_owned()).await);
}

async fn metadata(handle: &ConnectionHandle, log: &mut Transcript) {
    let peer = PeerClient::new(handle.clone());
    log.note("none", peer.metadata().await);
    let entries = vec![
        ("trace".to_owned(), MetadataValue::String("abc".to_owned())),
        ("bytes".to_owned(), MetadataValue::Bytes(vec![0, 255])),
        ("trace".to_owned(), MetadataValue::U64(u64::MAX)),
    ];
    log.note(
        "three",
        peer.metadata().with_metadata(entries.clone()).await,
    );
    let method = peer_method_id::metadata();
    log.note(
        "raw",
        handle.call_raw_with_metadata(method, vec![], entries).await,
    );
}

async fn channels(handle: &ConnectionHandle, log: &mut Transcript) {
    let peer = PeerClient::new(handle.clone());

    let (numbers, receiver) = channel::<i64>();
    let sending = async {
        for number in [3, -5, 1_000_000] {
            numbers
                .send(&number)
                .await
                .expect("the call drains this channel");
        }
        drop(numbers);
    };
    let (sum, ()) = tokio::join!(async { peer.sum(receiver).await }, sending);
    log.note("sum", sum);

    let (numbers, receiver) = channel::<i64>();
    drop(numbers);
    log.note("sum of nothing", peer.sum(receiver).await);

    let (input, to_peer) = channel::<String>();
    let (from_peer, mut output) = channel::<String>();
    let conversation = converse(
        input,
        &mut output,
        ["one", "two", "three"].map(str::to_owned),
    );
    let (answer, lines) = tokio::join!(
        async { peer.transform(to_peer, from_peer).await },
        conversation
    );
    log.note("transform", (answer, lines));
    paced_channels(handle, log).await;
}

/// Channels on which the callee moves first. The published forwarder may pass on a caller's first item
/// before the request itself, which ends the link: through it, only these are deterministic.
async fn paced_channels(handle: &ConnectionHandle, log: &mut Transcript) {
    let peer = PeerClient::new(handle.clone());
    for count in [0, 1, 500] {
        let (output, mut items) = channel::<u32>();
        let answer = peer.generate(count, output).await;
        log.note("generate", (count, answer, drain(&mut items).await));
    }

    let (output, mut items) = channel::<u32>();
    let answer = peer.generate_then_fail(3, output).await;
    log.note("generate, then fail", (answer, drain(&mut items).await));

    let (input, to_peer) = channel::<String>();
    let (from_peer, mut output) = channel::<String>();
    let conversation = async {
        let greeting = output.recv().await;
        let answers = converse(input, &mut output, ["uno", "dos"].map(str::to_owned));
        (greeting, answers.await)
    };
    let (answer, lines) =
        tokio::join!(async { peer.greet(to_peer, from_peer).await }, conversation);
    log.note("greet", (answer, lines));

    match peer.subscribe(4).await {
        Ok(mut items) => {
            let released = ControlClient::new(handle.clone()).release().await;
            log.note("subscribe", (released, drain(&mut items).await));
        }
        Err(error) => log.note("subscribe", error),
    }
    log.note("still there", peer.echo("yes".to_owned()).await);
}

/// Sends each item once the answer to the one before is here, then hangs up.
async fn converse<T: facet::Facet<'static>>(
    input: roam::Tx<T>,
    output: &mut roam::Rx<T>,
    items: impl IntoIterator<Item = T>,
) -> Vec<Result<Option<T>, RxError>> {
    let mut answers = Vec::new();
    for item in items {
        input
            .send(&item)
            .await
            .expect("the call drains this channel");
        answers.push(output.recv().await);
    }
    drop(input);
    answers.push(output.recv().await);
    answers
}

async fn drain<T: facet::Facet<'static> + Debug>(items: &mut roam::Rx<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Ok(Some(item)) = items.recv().await {
        all.push(item);
    }
    all
}

/// One channel in the list and none in the option: with more, the published session walks out of the list,
/// and it never binds what is in an option.
async fn nested_channels(handle: &ConnectionHandle, log: &mut Transcript) {
    let peer = PeerClient::new(handle.clone());
    let (input, receiver) = channel::<u32>();
    let (progress, mut lines) = channel::<String>();
    let streams = Streams {
        label: "input".to_owned(),
        inputs: vec![receiver],
        progress,
        unused: None,
    };
    let sending = async {
        for number in [40, 2] {
            input
                .send(&number)
                .await
                .expect("the call drains this channel");
        }
        drop(input);
    };
    let (answer, ()) = tokio::join!(async { peer.merge(streams).await }, sending);
    log.note("merge", (answer, drain(&mut lines).await));
}

async fn tunnel(handle: &ConnectionHandle, log: &mut Transcript) {
    let peer = PeerClient::new(handle.clone());
    let (ours, theirs) = tunnel_pair();
    let Tunnel { tx, mut rx } = ours;
    let exchange = converse(
        tx,
        &mut rx,
        [&b"first"[..], b"", b"second"].map(<[u8]>::to_vec),
    );
    let (answer, lines) = tokio::join!(async { peer.tunnel(theirs).await }, exchange);
    log.note("chunks", (answer, lines));

    let (ours, theirs) = tunnel_pair();
    let (mut local, remote) = tokio::io::duplex(64);
    let (reading, writing) = tunnel_stream(remote, ours, 16);
    let exchange = async {
        local
            .write_all(b"through a byte stream, in chunks of sixteen")
            .await
            .expect("the pump reads");
        local.shutdown().await.expect("the pump reads");
        let mut all = String::new();
        let result = local.read_to_string(&mut all).await;
        (result.is_ok(), all)
    };
    let (answer, text) = tokio::join!(async { peer.tunnel(theirs).await }, exchange);
    log.note("stream", (answer, text));
    log.note(
        "pumps",
        (
            reading.await.is_ok_and(|end| end.is_ok()),
            writing.await.is_ok_and(|end| end.is_ok()),
        ),
    );
}

async fn no_answer(handle: &ConnectionHandle, log: &mut Transcript) {
    let peer = PeerClient::new(handle.clone());
    let answer = tokio::time::timeout(SILENCE, async { peer.panics().await }).await;
    log.note("a handler that panics", answer);
    let answer = tokio::time::timeout(SILENCE, handle.call_raw(OPAQUE, vec![])).await;
    log.note("a response that does not serialize", answer);
    log.note("still there", peer.echo("yes".to_owned()).await);
}

/// The callee's handler runs on after the caller dropped its future, and its late answer disturbs nobody.
async fn dropped(handle: &ConnectionHandle, log: &mut Transcript) {
    let peer = PeerClient::new(handle.clone());
    let control = ControlClient::new(handle.clone());
    let before = control.holds().await.unwrap_or_default();
    let answer = tokio::time::timeout(SILENCE, async { peer.hold().await }).await;
    log.note("hold", answer);
    let during = control.holds().await.unwrap_or_default();
    log.note("waiting", (during.0 - before.0, during.1 - before.1));
    log.note("release", control.release().await);
    let mut after = during;
    while after.1 == during.1 {
        after = control.holds().await.unwrap_or_default();
    }
    log.note("finished", (after.0 - before.0, after.1 - before.1));
    log.note("still there", peer.echo("yes".to_owned()).await);
}

async fn nested_calls(handle: &ConnectionHandle, log: &mut Transcript) {
    let control = ControlClient::new(handle.clone());
    log.note("nested", control.nested(6).await);
}

async fn virtual_connections(handle: &ConnectionHandle, log: &mut Transcript) {
    for round in 1..=2 {
        match handle.connect(kind_of("inherit"), None).await {
            Ok(connection) => {
                log.note("connected", (round, connection.conn_id()));
                unary(&connection, log).await;
                channels(&connection, log).await;
                nested_channels(&connection, log).await;
                metadata(&connection, log).await;
            }
            Err(error) => log.note("connect", error),
        }
    }
    let own = handle
        .connect(kind_of("own"), None)
        .await
        .map(PeerClient::new);
    match own {
        Ok(peer) => log.note("own dispatcher", peer.add(1, 2).await),
        Err(error) => log.note("connect", error),
    }
    let refused = handle.connect(kind_of("refuse"), None).await;
    log.note("refused", refused.map(|connection| connection.conn_id()));

    let control = ControlClient::new(handle.clone());
    let called_back = handle.connect(kind_of("callback"), None).await;
    log.note(
        "calls back",
        called_back.as_ref().map(ConnectionHandle::conn_id),
    );
    log.note("callback", control.callback_transcript().await);

    log.note("deaf", control.go_deaf().await);
    let unheard = handle.connect(kind_of("inherit"), None).await;
    log.note("unheard", unheard.map(|connection| connection.conn_id()));
    log.note("still there", control.holds().await.is_ok());
}

/// The other side forwards a virtual connection back to this side's own services.
async fn forwarding(handle: &ConnectionHandle, log: &mut Transcript) {
    let control = ControlClient::new(handle.clone());
    for kind in ["forward", "late"] {
        let Ok(proxy) = handle.connect(kind_of(kind), None).await else {
            log.note("no connection", kind);
            continue;
        };
        if kind == "late" {
            let peer = PeerClient::new(proxy.clone());
            log.note("unbound", peer.echo("too early".to_owned()).await);
            log.note("bind", control.bind_late().await);
        }
        unary(&proxy, log).await;
        errors(&proxy, log).await;
        paced_channels(&proxy, log).await;
    }
}

async fn concurrent(count: u32, handle: &ConnectionHandle, log: &mut Transcript) {
    let peer = PeerClient::new(handle.clone());
    let calls = (0..count).map(|index| {
        let peer = peer.clone();
        tokio::spawn(async move {
            let text = index.to_string();
            peer.echo(text.clone()).await.is_ok_and(|echo| echo == text)
        })
    });
    let answers = join_all(calls).await;
    let right = answers
        .iter()
        .filter(|answer| matches!(answer, Ok(true)))
        .count();
    log.note("right answers", (right, answers.len()));
}

/// Past 64 KiB on one channel the receiver says Goodbye. The channel stays open until then, so that
/// nothing is written to a link that is going away.
async fn overrun(handle: &ConnectionHandle, log: &mut Transcript) {
    let peer = PeerClient::new(handle.clone());
    let (items, receiver) = channel::<Vec<u8>>();
    let sending = async {
        for _ in 0..4 {
            items
                .send(&vec![7; 20_000])
                .await
                .expect("the call drains this channel");
        }
    };
    let (answer, ()) = tokio::join!(async { peer.sink(receiver).await }, sending);
    log.note("overrun", answer);
    drop(items);
    log.note("afterwards", peer.echo("gone".to_owned()).await);
}

fn checksum(bytes: &[u8]) -> (usize, u64) {
    let sum = bytes.iter().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add((*byte).into())
    });
    (bytes.len(), sum)
}
