use super::refusal::Refusal;

/// How Redis looks from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// It answers nothing.
    pub away: bool,
    /// Nothing that is published arrives although it answers: other instances serve better.
    pub not_delivering: bool,
    /// It answers, and refused the newest heartbeat, or took it only as what needs no memory.
    pub refuses: Option<Refusal>,
}
