use std::collections::BTreeMap;

use super::{ProxyUrl, url::InvalidProxy};
use crate::link_options::{InvalidProxyName, ProxyName};

/// The operator's proxies for connections to WhatsApp.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// For every link that names none. `None`: those connect directly.
    pub common: Option<ProxyUrl>,
    /// For links whose token names one.
    pub named: BTreeMap<ProxyName, ProxyUrl>,
}

/// The way to WhatsApp.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Without a proxy.
    Direct,
    /// Through this one only.
    Through(ProxyUrl),
}

/// The name is not among the operator's proxies.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no proxy has the name that the link was given")]
pub struct UnknownProxy;

impl Proxies {
    /// The way for a link with this name. A name that is unknown here never falls back to another way.
    pub fn route(&self, name: Option<&ProxyName>) -> Result<Route, UnknownProxy> {
        match (name, &self.common) {
            (Some(name), _) => self.named.get(name).cloned().map(Route::Through).ok_or(UnknownProxy),
            (None, Some(common)) => Ok(Route::Through(common.clone())),
            (None, None) => Ok(Route::Direct),
        }
    }
}

/// Reads lines of `name = url`. Empty lines and lines that begin with # are comments. The error names the line, and
/// nothing of it.
pub fn read_list(text: &str) -> Result<BTreeMap<ProxyName, ProxyUrl>, String> {
    let mut named = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    }) {
        let (name, url) = line.split_once('=').ok_or_else(|| format!("line {number} is not NAME = URL"))?;
        let name =
            ProxyName::parse(name.trim()).map_err(|error: InvalidProxyName| format!("line {number}: {error}"))?;
        let url = ProxyUrl::parse(url.trim()).map_err(|error: InvalidProxy| format!("line {number} {error}"))?;
        if named.insert(name, url).is_some() {
            return Err(format!("line {number} has the name of an earlier line"));
        }
    }
    if named.is_empty() { Err("names no proxy".to_owned()) } else { Ok(named) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ProxyName {
        ProxyName::parse(text).unwrap()
    }

    #[test]
    fn list_of_proxies_is_read_line_by_line() {
        let list = "# ours\n\n  jakarta = http://u:p=q@proxy:3128\r\nsurabaya=socks5h://proxy:1080\n";
        let read = read_list(list).unwrap();
        assert_eq!(read.keys().map(ProxyName::as_str).collect::<Vec<_>>(), ["jakarta", "surabaya"]);
        assert_eq!(read[&name("jakarta")].credentials, Some(("u".into(), "p=q".into())));
        for (bad, line) in [
            ("", "no proxy"),
            ("# only\n", "no proxy"),
            ("a = http://proxy:1\nb", "line 2"),
            ("a = http://proxy:1\n\nb = ftp://u:hunter2@proxy:1", "line 3"),
            ("a b = http://proxy:1", "line 1"),
            ("a = http://proxy:1\na = http://proxy:2", "line 2"),
        ] {
            let refused = read_list(bad).unwrap_err();
            assert!(refused.contains(line) && !refused.contains("hunter2"), "{bad:?}: {refused}");
        }
    }

    #[test]
    fn unknown_name_never_falls_back_to_another_way() {
        let url = |text: &str| ProxyUrl::parse(text).unwrap();
        let mut proxies = Proxies::default();
        assert_eq!(proxies.route(None), Ok(Route::Direct));
        assert_eq!(proxies.route(Some(&name("jakarta"))), Err(UnknownProxy));
        proxies.common = Some(url("http://common:1"));
        assert_eq!(proxies.route(None), Ok(Route::Through(url("http://common:1"))));
        assert_eq!(proxies.route(Some(&name("jakarta"))), Err(UnknownProxy));
        proxies.named.insert(name("jakarta"), url("http://named:1"));
        assert_eq!(proxies.route(Some(&name("jakarta"))), Ok(Route::Through(url("http://named:1"))));
    }
}
