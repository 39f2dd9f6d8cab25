//! Scripts that a raw peer plays, message by message, to a real one (the victim): protocol violations,
//! messages that no 0.6 peer sends, and what a real caller puts on the wire.

use roam_session::Role;
use roam_stream::CobsFramed;
use roam_wire::{ConnectionId, Hello, Message, MetadataValue};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::service::{kind_of, peer_method_id};
use crate::transcript::Transcript;

/// Every script, each played in both roles.
pub const SCRIPTS: [&str; 34] = [
    "hello-missing",
    "hello-v1",
    "hello-unknown",
    "hello-twice",
    "unknown-variant",
    "garbage",
    "hang-up",
    "goodbye",
    "request-duplicate",
    "request-unknown-connection",
    "request-payload-limit",
    "request-metadata-limit",
    "request-channels-not-in-payload",
    "data-channel-zero",
    "data-unknown-channel",
    "data-unknown-connection",
    "data-payload-limit",
    "data-after-close",
    "data-after-reset",
    "data-credit-exact",
    "data-credit-overrun",
    "data-of-wrong-type",
    "close-channel-zero",
    "close-unknown-channel",
    "reset-unknown-channel",
    "cancel",
    "unsolicited",
    "virtual",
    "virtual-goodbye",
    "caller-unary",
    "caller-channels",
    "caller-virtual",
    "caller-goodbye",
    "caller-hang-up",
];

enum Step {
    Send(Message),
    /// A frame with any content.
    Frame(Vec<u8>),
    /// Waits for this many messages.
    Read(usize),
    /// Ends the stream without a word.
    HangUp,
}
use Step::{Frame, HangUp, Read, Send};

const ROOT: ConnectionId = ConnectionId::ROOT;
const V1: ConnectionId = ConnectionId::new(1);
const HELLO: Message = Message::Hello(Hello::V2 {
    max_payload_size: 1024 * 1024,
    initial_channel_credit: 64 * 1024,
});

/// Plays a script over a stream and hands back everything that came until the victim hung up.
pub async fn play(script: &str, stream: UnixStream, role: Role) -> Vec<String> {
    let mut log = Transcript::default();
    let mut framed = CobsFramed::new(stream);
    // A victim that already hung up makes sends fail; what it said before is read all the same.
    for step in steps(script, role) {
        match step {
            Send(message) => drop(framed.send(&message).await),
            Frame(content) => {
                let mut frame = cobs::encode_vec(&content);
                frame.push(0);
                drop(framed.stream_mut().write_all(&frame).await);
            }
            Read(count) => {
                for _ in 0..count {
                    if !read(&mut framed, &mut log).await {
                        break;
                    }
                }
            }
            HangUp => drop(framed.stream_mut().shutdown().await),
        }
    }
    while read(&mut framed, &mut log).await {}
    log.0
}

async fn read(framed: &mut CobsFramed<UnixStream>, log: &mut Transcript) -> bool {
    // An end with unread data behind it is an error on a unix socket and the same event.
    let Ok(Some(message)) = framed.recv().await else {
        return false;
    };
    let mut text = format!("{message:?}");
    if text.len() > 400 {
        text = format!("{} ... {} in all", &text[..400], text.len());
    }
    log.0.push(text);
    true
}

fn steps(script: &str, role: Role) -> Vec<Step> {
    let mut steps = match script {
        "hello-missing" => return vec![request(1, peer_method_id::echo(), vec![], vec![0])],
        "hello-v1" => {
            let old = Hello::V1 {
                max_payload_size: 1024,
                initial_channel_credit: 1024,
            };
            return vec![Send(Message::Hello(old))];
        }
        "hello-unknown" => return vec![Frame(vec![0, 9, 1, 1])],
        _ => vec![Send(HELLO), Read(1)],
    };
    steps.extend(body(script, role));
    steps
}

/// What follows the handshake. A script that the victim does not end itself ends with Goodbye.
fn body(script: &str, role: Role) -> Vec<Step> {
    let channel = match role {
        Role::Initiator => 1,
        Role::Acceptor => 2,
    };
    let sink = || {
        request(
            1,
            peer_method_id::sink(),
            vec![channel],
            vec![channel as u8],
        )
    };
    match script {
        "hello-twice" => vec![Send(HELLO), echo(1), Read(1), goodbye(ROOT)],
        "unknown-variant" => vec![Frame(vec![12, 0])],
        "garbage" => vec![Frame(vec![5, 0xff, 0xff])],
        "hang-up" => vec![echo(1), Read(1), HangUp],
        "goodbye" => vec![
            request(1, peer_method_id::panics(), vec![], vec![]),
            echo(2),
            Read(1),
            goodbye(ROOT),
        ],
        "request-duplicate" => {
            let panics = || request(1, peer_method_id::panics(), vec![], vec![]);
            vec![panics(), panics()]
        }
        "request-unknown-connection" => {
            vec![on(ConnectionId::new(9), 1, peer_method_id::echo(), vec![0])]
        }
        "request-payload-limit" => vec![request(
            1,
            peer_method_id::echo(),
            vec![],
            vec![0; 1024 * 1024 + 1],
        )],
        "request-metadata-limit" => {
            let entry = ("key".to_owned(), MetadataValue::U64(1));
            vec![Send(Message::Request {
                conn_id: ROOT,
                request_id: 1,
                method_id: peer_method_id::echo(),
                metadata: vec![entry; 129],
                channels: vec![],
                payload: vec![0],
            })]
        }
        // The list in the frame wins over the id in the payload.
        "request-channels-not-in-payload" => vec![
            request(1, peer_method_id::sink(), vec![channel], vec![99]),
            data(channel, vec![1, 7]),
            close(channel),
            Read(1),
            goodbye(ROOT),
        ],
        "data-channel-zero" => vec![data(0, vec![1])],
        "data-unknown-channel" => vec![data(77, vec![1])],
        "data-unknown-connection" => vec![Send(Message::Data {
            conn_id: ConnectionId::new(9),
            channel_id: channel,
            payload: vec![1],
        })],
        "data-payload-limit" => vec![sink(), data(channel, vec![0; 1024 * 1024 + 1])],
        "data-after-close" => vec![sink(), close(channel), Read(1), data(channel, vec![0])],
        "data-after-reset" => {
            let reset = Message::Reset {
                conn_id: ROOT,
                channel_id: channel,
            };
            vec![sink(), Send(reset), Read(1), data(channel, vec![0])]
        }
        "data-credit-exact" => vec![
            sink(),
            data(channel, item(32 * 1024)),
            data(channel, item(32 * 1024)),
            close(channel),
            Read(1),
            goodbye(ROOT),
        ],
        "data-credit-overrun" => vec![
            sink(),
            data(channel, item(32 * 1024)),
            data(channel, item(32 * 1024)),
            data(channel, item(1)),
        ],
        "data-of-wrong-type" => vec![
            sink(),
            data(channel, vec![9, 1]),
            close(channel),
            Read(1),
            goodbye(ROOT),
        ],
        "close-channel-zero" => vec![close(0)],
        "close-unknown-channel" => vec![close(77)],
        "reset-unknown-channel" => {
            let reset = Message::Reset {
                conn_id: ROOT,
                channel_id: 77,
            };
            vec![Send(reset), echo(1), Read(1), goodbye(ROOT)]
        }
        "cancel" => {
            let cancel = |request_id| {
                Send(Message::Cancel {
                    conn_id: ROOT,
                    request_id,
                })
            };
            vec![
                sink(),
                cancel(1),
                Read(1),
                cancel(1),
                cancel(8),
                echo(1),
                Read(1),
                goodbye(ROOT),
            ]
        }
        "unsolicited" => vec![
            respond(ROOT, 5, vec![], vec![0]),
            Send(Message::Accept {
                request_id: 5,
                conn_id: V1,
                metadata: vec![],
            }),
            Send(Message::Reject {
                request_id: 5,
                reason: "no".to_owned(),
                metadata: vec![],
            }),
            Send(Message::Credit {
                conn_id: ROOT,
                channel_id: 77,
                bytes: 1,
            }),
            sink(),
            Send(Message::Credit {
                conn_id: ROOT,
                channel_id: channel,
                bytes: u32::MAX,
            }),
            goodbye(ConnectionId::new(8)),
            echo(2),
            Read(1),
            goodbye(ROOT),
        ],
        "virtual" => vec![
            Send(Message::Connect {
                request_id: 3,
                metadata: kind_of("own"),
            }),
            Read(1),
            on(V1, 1, peer_method_id::echo(), vec![1, b'v']),
            Read(1),
            Send(Message::Connect {
                request_id: 4,
                metadata: kind_of("refuse"),
            }),
            Read(1),
            on(V1, 2, 0xdead, vec![]),
            Read(1),
            goodbye(ROOT),
        ],
        "virtual-goodbye" => vec![
            Send(Message::Connect {
                request_id: 3,
                metadata: kind_of("own"),
            }),
            Read(1),
            goodbye(V1),
            echo(1),
            Read(1),
            on(V1, 1, peer_method_id::echo(), vec![1, b'v']),
        ],
        "caller-unary" => {
            let answers = [
                vec![0, 1, b'b'],
                vec![1, 0, 0, 84],
                vec![1, 3],
                vec![0],
                vec![0, 2, 2, 2],
                vec![7],
                vec![],
            ];
            let mut steps = Vec::new();
            for (request_id, payload) in (1..).zip(answers) {
                steps.extend([Read(1), respond(ROOT, request_id, vec![], payload)]);
            }
            steps.push(goodbye(ROOT));
            steps
        }
        // The victim allocates the ids: its own parity.
        "caller-channels" => {
            let theirs = 3 - channel;
            vec![
                Read(4),
                respond(ROOT, 1, vec![], vec![0, 84]),
                Read(1),
                data(theirs + 2, vec![5]),
                data(theirs + 2, vec![6]),
                close(theirs + 2),
                respond(ROOT, 2, vec![], vec![0]),
                Read(1),
                respond(ROOT, 3, vec![40], vec![0, 12]),
                goodbye(ROOT),
            ]
        }
        "caller-virtual" => {
            let seven = ConnectionId::new(7);
            vec![
                Read(1),
                Send(Message::Accept {
                    request_id: 1,
                    conn_id: seven,
                    metadata: vec![],
                }),
                Read(1),
                respond(seven, 1, vec![], vec![0, 1, b'x']),
                Read(1),
                goodbye(seven),
                Read(1),
                Send(Message::Reject {
                    request_id: 2,
                    reason: "enough".to_owned(),
                    metadata: vec![],
                }),
                goodbye(ROOT),
            ]
        }
        "caller-goodbye" => vec![Read(1), goodbye(ROOT)],
        "caller-hang-up" => vec![Read(1), HangUp],
        unknown => panic!("no script {unknown}"),
    }
}

fn request(request_id: u64, method_id: u64, channels: Vec<u64>, payload: Vec<u8>) -> Step {
    Send(Message::Request {
        conn_id: ROOT,
        request_id,
        method_id,
        metadata: vec![],
        channels,
        payload,
    })
}

fn on(conn_id: ConnectionId, request_id: u64, method_id: u64, payload: Vec<u8>) -> Step {
    Send(Message::Request {
        conn_id,
        request_id,
        method_id,
        metadata: vec![],
        channels: vec![],
        payload,
    })
}

fn echo(request_id: u64) -> Step {
    request(request_id, peer_method_id::echo(), vec![], vec![1, b'e'])
}

fn respond(conn_id: ConnectionId, request_id: u64, channels: Vec<u64>, payload: Vec<u8>) -> Step {
    Send(Message::Response {
        conn_id,
        request_id,
        metadata: vec![],
        channels,
        payload,
    })
}

fn data(channel_id: u64, payload: Vec<u8>) -> Step {
    Send(Message::Data {
        conn_id: ROOT,
        channel_id,
        payload,
    })
}

fn close(channel_id: u64) -> Step {
    Send(Message::Close {
        conn_id: ROOT,
        channel_id,
    })
}

fn goodbye(conn_id: ConnectionId) -> Step {
    Send(Message::Goodbye {
        conn_id,
        reason: "done".to_owned(),
    })
}

/// A byte vector that takes exactly `length` bytes on the wire.
fn item(length: usize) -> Vec<u8> {
    let bytes = (0..length).rev().map(|size| vec![7_u8; size]);
    let encoded = bytes.map(|bytes| facet_postcard::to_vec(&bytes).expect("bytes serialize"));
    let mut fitting = encoded.skip_while(|encoded| encoded.len() > length);
    fitting.next().expect("an empty vector takes one byte")
}
