//! `lab calico`: Calico's calculations by themselves.

use std::collections::BTreeMap;

use super::print;
use crate::calico::{ipam, names};
use crate::cli::args::Calico;
use crate::cli::exit_code::ExitCode;
use crate::cli::failure::Failure;
use crate::topology::Selector;

pub(crate) fn calico(verb: &Calico) -> Result<ExitCode, Failure> {
    match verb {
        Calico::Block { pool, block_size, nodes } => {
            if pool.trunc() != *pool {
                return Err(Failure::invalid(format!("pool {pool} has host bits: write {}", pool.trunc())));
            }
            if !(20..=32).contains(block_size) || *block_size < pool.prefix_len() {
                return Err(Failure::invalid(format!(
                    "a block of /{block_size} cannot be cut from {pool}: blocks are /20 to /32 and no larger than the pool"
                )));
            }
            for node in nodes {
                let block = ipam::block_of(*pool, *block_size, node)
                    .ok_or_else(|| Failure::invalid(format!("a block of /{block_size} cannot be cut from {pool}")))?;
                print(&format!("{node} {block}\n"));
            }
        }
        Calico::VtepMac { nodes } => {
            nodes.iter().for_each(|node| print(&format!("{node} {}\n", names::vtep_mac(node))))
        }
        Calico::VethName { pod } => match pod.split_once('.') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                print(&format!("{}\n", names::veth_name(namespace, name)));
            }
            _ => return Err(Failure::invalid(format!("`{pod}` is not NAMESPACE.POD, such as `default.wluo-8n4nq`"))),
        },
        Calico::Selector { expression, labels } => {
            let selector = Selector::parse(expression)
                .map_err(|error| Failure::invalid(format!("selector `{expression}`: {error}")))?;
            print(&format!("{}\n", selector.matches(&parse_labels(labels)?)));
        }
    }
    Ok(ExitCode::Done)
}

fn parse_labels(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty()).map(|pair| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::invalid(format!("`{pair}` is no label: write `key=value,key=value`"))),
    });
    pairs.collect()
}
