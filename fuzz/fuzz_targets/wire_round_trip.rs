//! Whatever decodes encodes again, and decodes to the same.

#![no_main]

use bytes::BytesMut;
use lab::bgp::wire::*;
use libfuzzer_sys::fuzz_target;

#[path = "context.rs"]
mod context;

fuzz_target!(|input: &[u8]| {
    let [flags, stream @ ..] = input else { return };
    let context = context::from_bits(*flags);
    for message in decode(stream, &context) {
        let mut bytes = BytesMut::new();
        match &message {
            Message::Open(open) => {
                encode_open(open, &mut bytes);
                assert_eq!(decode(&bytes, &context), [message]);
            }
            Message::Keepalive => {
                encode_keepalive(&mut bytes);
                assert_eq!(decode(&bytes, &context), [message]);
            }
            Message::Notification(notification) => {
                encode_notification(notification, &mut bytes);
                let mut expected = notification.clone();
                expected.data.truncate(4096 - 21);
                assert_eq!(decode(&bytes, &context), [Message::Notification(expected)]);
            }
            Message::RouteRefresh(None, _) => {}
            Message::RouteRefresh(Some(family), kind) => {
                encode_route_refresh(*family, *kind, &mut bytes);
                assert_eq!(decode(&bytes, &context), [message]);
            }
            Message::Update(update) => round_trip(update, &context),
        }
    }
});

fn round_trip(update: &Update, context: &Context) {
    let mut bytes = BytesMut::new();
    if let Some(family) = update.end_of_rib {
        encode_end_of_rib(family, &mut bytes);
        let [Message::Update(again)] = &decode(&bytes, context)[..] else { panic!("End-of-RIB is one UPDATE") };
        assert_eq!(again.end_of_rib, Some(family));
        bytes.clear();
    }

    let mut rest = &update.withdrawn[..];
    while !rest.is_empty() {
        let taken = encode_withdrawal(rest, context, &mut bytes);
        assert!(taken > 0);
        rest = &rest[taken..];
    }
    let withdrawn: Vec<Nlri> = updates(&bytes, context).into_iter().flat_map(|update| update.withdrawn).collect();
    assert_eq!(withdrawn, update.withdrawn);

    let Some(attributes) = &update.attributes else { return };
    bytes.clear();
    let mut rest = &update.announced[..];
    while !rest.is_empty() {
        // Our spelling can be longer than the one that came: AS4_PATH is written whole, and may have come in part.
        let Ok(taken) = encode_announcement(attributes, rest, context, &mut bytes) else { return };
        assert!(taken > 0);
        rest = &rest[taken..];
    }
    let again = updates(&bytes, context);
    assert!(again.iter().all(|again| again.attributes.as_ref() == Some(attributes) && again.faults.is_empty()));
    let announced: Vec<Nlri> = again.into_iter().flat_map(|update| update.announced).collect();
    assert_eq!(announced, update.announced);
}

/// The messages before the first fault.
fn decode(bytes: &[u8], context: &Context) -> Vec<Message> {
    let (mut decoder, mut interner) = (Decoder::new(), Interner::new());
    decoder.push(bytes);
    std::iter::from_fn(|| decoder.next(context, &mut interner).ok().flatten()).collect()
}

fn updates(bytes: &[u8], context: &Context) -> Vec<Update> {
    let update = |message| match message {
        Message::Update(update) => update,
        other => panic!("{other:?}"),
    };
    decode(bytes, context).into_iter().map(update).collect()
}
