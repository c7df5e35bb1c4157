//! Any bytes, in any context, cut anywhere: the decoder never panics, and what comes out is no larger than what went in.

#![no_main]

use lab::bgp::wire::{Decoder, Interner, Message};
use libfuzzer_sys::fuzz_target;

#[path = "context.rs"]
mod context;

fuzz_target!(|input: &[u8]| {
    let [flags, cut, stream @ ..] = input else { return };
    let context = context::from_bits(*flags);
    let (mut decoder, mut interner) = (Decoder::new(), Interner::new());
    for part in stream.chunks(usize::from(*cut) + 1) {
        decoder.push(part);
        loop {
            match decoder.next(&context, &mut interner) {
                Ok(Some(Message::Update(update))) => {
                    assert!(update.announced.len() + update.withdrawn.len() <= stream.len());
                    assert_eq!(update.announced.is_empty(), update.attributes.is_none());
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(notification) => {
                    assert_eq!(decoder.next(&context, &mut interner), Err(notification));
                    return;
                }
            }
        }
    }
});
