//! The way from an earlier layout of a store to the one of this version.

/// The step from one layout to the next. `S` says how a backend migrates.
#[derive(Debug)]
pub struct Migration<S> {
    /// The layout that it migrates.
    pub from: u64,
    /// The layout that it makes.
    pub to: u64,
    /// How.
    pub step: S,
}

/// The migrations that lead from one layout to another. `None`: there is no such way.
pub(in crate::store) fn way<S>(migrations: &[Migration<S>], mut from: u64, to: u64) -> Option<Vec<&Migration<S>>> {
    let mut way = Vec::new();
    while from < to {
        let next = migrations.iter().find(|migration| migration.from == from && migration.to > from)?;
        way.push(next);
        from = next.to;
    }
    (from == to).then_some(way)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn way_leads_over_every_layout_in_between() {
        let migrations = [(4, 5), (2, 3), (3, 4)].map(|(from, to)| Migration { from, to, step: () });
        let way = |from, to| way(&migrations, from, to).map(|way| way.iter().map(|step| step.from).collect::<Vec<_>>());
        assert_eq!(way(2, 5), Some(vec![2, 3, 4]));
        assert_eq!(way(4, 5), Some(vec![4]));
        assert_eq!(way(5, 5), Some(vec![]));
        assert_eq!(way(1, 5), None, "no step begins there");
        assert_eq!(way(5, 6), None);
        assert_eq!(way(6, 5), None, "no way back");
    }
}
