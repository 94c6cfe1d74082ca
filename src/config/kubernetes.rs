/// Whether Kubernetes puts a variable of this name into every pod beside a Service called `tautan` or `tautan-…`, such as
/// `TAUTAN_PORT` and `TAUTAN_REDIS_PORT_6379_TCP_ADDR`. No setting of ours may have such a name.
pub fn is_injected(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("TAUTAN_") else { return false };
    let own = rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_");
    let service = rest.ends_with("_SERVICE_HOST") || rest.contains("_SERVICE_PORT");
    own || service
        || rest.ends_with("_PORT")
        || rest.match_indices("_PORT_").any(|(at, found)| {
            let number = rest[at + found.len()..].split_once('_');
            number.is_some_and(|(number, what)| number.parse::<u16>().is_ok() && !what.is_empty())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::VARIABLES;

    #[test]
    fn variables_injected_by_kubernetes_are_ignored() {
        for name in [
            "TAUTAN_PORT",
            "TAUTAN_PORT_80_TCP",
            "TAUTAN_PORT_80_TCP_ADDR",
            "TAUTAN_SERVICE_HOST",
            "TAUTAN_SERVICE_PORT",
            "TAUTAN_SERVICE_PORT_HTTP",
            "TAUTAN_REDIS_SERVICE_HOST",
            "TAUTAN_REDIS_SERVICE_PORT",
            "TAUTAN_REDIS_SERVICE_PORT_TCP_REDIS",
            "TAUTAN_REDIS_PORT",
            "TAUTAN_REDIS_PORT_6379_TCP",
            "TAUTAN_REDIS_PORT_6379_TCP_PROTO",
            "TAUTAN_REDIS_PORT_6379_TCP_PORT",
            "TAUTAN_REDIS_PORT_6379_TCP_ADDR",
            "TAUTAN_WEB_2_PORT_53_UDP_ADDR",
        ] {
            assert!(is_injected(name), "{name}");
        }
        for name in [
            "TAUTAN_PORTS",
            "TAUTAN_HOST",
            "TAUTAN_REDIS_PORT_X_TCP",
            "TAUTAN_REDIS_PORT_6379_",
            "TAUTAN_REDIS_PORT_6379",
        ] {
            assert!(!is_injected(name), "{name}");
        }
    }

    #[test]
    fn setting_names_differ_from_those_that_kubernetes_injects() {
        for variable in VARIABLES {
            for name in [variable.name.to_owned(), format!("{}_FILE", variable.name)] {
                assert!(!is_injected(&name), "{name}");
            }
        }
    }
}
