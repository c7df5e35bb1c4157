//! A context from the first byte of an input. Both ends agree: what one sends the other receives.

use lab::bgp::wire::Context;

pub fn from_bits(bits: u8) -> Context {
    let bit = |index: u8| bits >> index & 1 == 1;
    Context {
        four_octet_as: bit(0),
        external: bit(1),
        add_path_receive_v4: bit(2),
        add_path_receive_v6: bit(3),
        add_path_send_v4: bit(2),
        add_path_send_v6: bit(3),
        extended_messages: bit(4),
    }
}
