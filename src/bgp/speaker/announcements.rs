//! What is to be announced, packed into UPDATEs by attributes.

use bytes::BytesMut;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::bgp::policy::AttributeKey;
use crate::bgp::wire::{self, Attributes, Context, Nlri};

/// Paths to announce, each of which the caller knows by a `P`.
#[derive(Debug)]
pub(super) struct Announcements<P> {
    groups: Vec<Group<P>>,
    group_of: HashMap<AttributeKey, usize, FxBuildHasher>,
    last: Option<(AttributeKey, usize)>,
}

/// Paths that go out with the same attributes.
#[derive(Debug)]
struct Group<P> {
    attributes: Attributes,
    paths: Vec<P>,
    nlri: Vec<Nlri>,
}

/// What [`Announcements`] come to.
#[derive(Debug)]
pub(super) struct Encoded<P> {
    /// What the messages announce.
    pub(super) announced: Vec<P>,
    /// What has attributes that fit into no message (RFC 8654 §4 for long ones): it cannot be passed on, and what the peer has of it is out
    /// of date.
    pub(super) refused: Vec<(P, Nlri)>,
    /// The messages.
    pub(super) bytes: BytesMut,
    /// How many.
    pub(super) messages: u64,
}

impl<P> Default for Announcements<P> {
    fn default() -> Self {
        Self { groups: Vec::new(), group_of: HashMap::default(), last: None }
    }
}

impl<P> Announcements<P> {
    /// One more path. Its attributes are asked for if `key` is a new one.
    pub(super) fn push(&mut self, key: &AttributeKey, path: P, nlri: Nlri, attributes: impl FnOnce() -> Attributes) {
        let index = match &self.last {
            // What came together mostly stands together.
            Some((same, index)) if same == key => *index,
            _ => {
                let index = *self.group_of.entry_ref(key).or_insert(self.groups.len());
                self.last = Some((key.clone(), index));
                index
            }
        };
        if index == self.groups.len() {
            self.groups.push(Group { attributes: attributes(), paths: Vec::new(), nlri: Vec::new() });
        }
        self.groups[index].paths.push(path);
        self.groups[index].nlri.push(nlri);
    }

    /// Encodes all of them.
    pub(super) fn encode(self, context: &Context) -> Encoded<P> {
        let (mut announced, mut refused) = (Vec::new(), Vec::new());
        let (mut bytes, mut messages) = (BytesMut::new(), 0);
        for Group { attributes, mut paths, nlri } in self.groups {
            let mut rest = &nlri[..];
            while !rest.is_empty()
                && let Ok(taken @ 1..) = wire::encode_announcement(&attributes, rest, context, &mut bytes)
            {
                messages += 1;
                rest = &rest[taken..];
            }
            refused.extend(paths.drain(nlri.len() - rest.len()..).zip(rest.iter().copied()));
            announced.append(&mut paths);
        }
        Encoded { announced, refused, bytes, messages }
    }
}
