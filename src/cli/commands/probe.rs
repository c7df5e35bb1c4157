//! `lab ping` and `lab curl`: traffic without any program of the host.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use super::{print, print_json};
use crate::cli::args::{Output, PingArguments};
use crate::cli::exit_code::ExitCode;
use crate::cli::failure::Failure;
use crate::cli::select::{Selected, require_root};
use crate::net::LabName;
use crate::probe::{PathMtuDiscovery, PingOptions, http_get, ping as send_pings};
use crate::report::chain;

/// Exit 0 if every request was answered, 1 if not.
pub(crate) async fn ping(
    lab: Option<&LabName>,
    arguments: &PingArguments,
    output: Output,
) -> Result<ExitCode, Failure> {
    require_root()?;
    let selected = Selected::with(lab, &arguments.from)?;
    let options = PingOptions {
        count: arguments.count,
        size: arguments.size,
        path_mtu: if arguments.df { PathMtuDiscovery::Do } else { PathMtuDiscovery::Want },
        ttl: arguments.ttl,
        timeout: arguments.timeout,
        interval: (!arguments.interval.is_zero()).then_some(arguments.interval),
        ..PingOptions::new(selected.address(&arguments.to)?)
    };
    let netns = selected.netns(&arguments.from)?;
    let report = send_pings(&netns, &options).await.map_err(|error| Failure::environment(chain(&error)))?;
    match output {
        Output::Table => print(&format!("{}\n", report.to_string().trim_end())),
        Output::Json => print_json(&report)?,
    }
    Ok(if report.received == report.sent { ExitCode::Done } else { ExitCode::Failed })
}

/// Exit 0 if a page came with a status below 400, 1 if not.
pub(crate) async fn curl(
    lab: Option<&LabName>,
    from: &str,
    to: &str,
    timeout: Duration,
    output: Output,
) -> Result<ExitCode, Failure> {
    require_root()?;
    let selected = Selected::with(lab, from)?;
    let (host, port, path) = split_target(to)?;
    let remote = SocketAddr::from((selected.address(host)?, port));
    let reply = http_get(&selected.netns(from)?, remote, Some(host), path, timeout)
        .await
        .map_err(|error| Failure::failed(chain(&error)))?;
    match output {
        Output::Table => print(&reply.text()),
        Output::Json => print_json(&json!({
            "status": reply.status,
            "body": reply.text(),
            "headers": reply.headers,
            "local": reply.local,
            "remote": reply.remote,
        }))?,
    }
    match reply.status {
        0..400 => Ok(ExitCode::Done),
        status => Err(Failure::failed(format!("{remote} answered with status {status}"))),
    }
}

/// `TO[:PORT][/PATH]`, with or without `http://`.
fn split_target(text: &str) -> Result<(&str, u16, &str), Failure> {
    let text = text.strip_prefix("http://").unwrap_or(text);
    let (authority, path) = match text.find('/') {
        Some(slash) => text.split_at(slash),
        None => (text, "/"),
    };
    match authority.split_once(':') {
        None => Ok((authority, 80, path)),
        Some((host, port)) => match port.parse() {
            Ok(port) if port > 0 => Ok((host, port, path)),
            _ => Err(Failure::invalid(format!("`{port}` is no port: write TO:PORT with a number from 1 to 65535"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_split_into_host_port_and_path() {
        for (text, expected) in [
            ("wluo-4x7jf", ("wluo-4x7jf", 80, "/")),
            ("10.0.0.1:8080", ("10.0.0.1", 8080, "/")),
            ("web/", ("web", 80, "/")),
            ("web/a/b?c=d:80", ("web", 80, "/a/b?c=d:80")),
            ("web:81/a", ("web", 81, "/a")),
            ("http://web:65535/a//b", ("web", 65535, "/a//b")),
        ] {
            assert_eq!(split_target(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_port_that_is_none_is_named() {
        for (text, port) in
            [("web:", ""), ("web:0", "0"), ("web:65536", "65536"), ("web:http/", "http"), ("a:1:2", "1:2")]
        {
            let failure = split_target(text).unwrap_err();
            assert_eq!(failure.code, ExitCode::Invalid, "{text}");
            assert_eq!(
                failure.message(),
                format!("`{port}` is no port: write TO:PORT with a number from 1 to 65535"),
                "{text}"
            );
        }
    }
}
