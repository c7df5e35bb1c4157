//! What the RFCs ask of a speaker, section by section, with the test that holds it: a whole speaker on a virtual clock against messages
//! made by hand, but for what only bytes can show.
//!
//! | Section | Asks | Held by |
//! |---|---|---|
//! | RFC 4271 §4.1 to §4.5 | messages | `wire::decoder`, `wire::open`, `wire::round_trip`, `wire::oracle` (netgauze reads what we write) |
//! | §5.1 | path attributes on their way out | `policy` (next hop, prepending, MED, LOCAL_PREF), `routes` |
//! | §6.1 | header errors 1/1 to 1/3, with their data | [`notifications`], `wire::decoder` |
//! | §6.2, RFC 5492, RFC 6286, RFC 7607, RFC 9072 | OPEN errors 2/0 to 2/6 | [`notifications`], `wire::open`, `fsm` |
//! | §6.3, RFC 7606 | UPDATE errors that end a session, and those that do not | [`notifications`], `wire::rfc7606` |
//! | §6.4 | nothing answers a NOTIFICATION | [`notifications`] |
//! | §6.5 | 4/0 | [`machine`], [`notifications`] |
//! | §6.6, RFC 6608 | 5/1 to 5/3 | [`machine`], [`notifications`] |
//! | §6.7, RFC 4486 | Cease 6/2, 6/4, 6/5, 6/7 | [`notifications`], `fsm` |
//! | §6.8, RFC 6286 | collisions | [`machine`] event 23, `fsm` (five tests), `convergence` (200 seeds of two that dial) |
//! | §8 | every state and event | [`machine`] |
//! | §8.1.3, §10 | timers and their jitter | [`timers`], `fsm`, `timers` beside the code |
//! | §9.1, RFC 4456 §9 | the decision, clause by clause | [`decision`], `rib::decision` |
//! | §9.1.4, §9.2 | what is told on, and what not | `routes`, `policy`, `solve` (any graph of speakers) |
//! | RFC 1997 | well-known communities | `policy` |
//! | RFC 2385, RFC 5082 | MD5, GTSM | the kernel's: `tests/kernel_interop`, scenario `md5-gtsm` |
//! | RFC 2918, RFC 7313 | route refresh, BoRR and EoRR | `routes`, `graceful_restart`, `add_path` |
//! | RFC 4456 §7, §8 | reflection and its loops | `policy`, `solve` |
//! | RFC 4760, RFC 2545 | IPv6 unicast | `ipv6`, `wire::round_trip` |
//! | RFC 4724 §2 to §4.2 | graceful restart, both parts | `graceful_restart` |
//! | RFC 6793 | four-octet AS numbers | `wire::rfc7606` (AS4_PATH, AS4_AGGREGATOR), `wire::round_trip` |
//! | RFC 7911 | ADD-PATH | `add_path`, `solve`, `wire::nlri` |
//! | RFC 8654 | extended messages | `extended_messages`, `wire::decoder` |
//!
//! What is not spoken: DelayOpen (§8.1.1 option 4, events 12 and 20), automatic start and stop (options 2 and 3, events 3 and 5 to 8;
//! `Waiting` with its IdleHoldTimer is DampPeerOscillations for a peer that was started by hand), unconfigured peers (option 7),
//! aggregation (§9.2.2.2), MinRouteAdvertisementInterval (§9.2.1.1; BIRD has none either), RFC 8538, LLGR beyond its announcement.

mod decision;
mod machine;
mod notifications;
mod timers;
