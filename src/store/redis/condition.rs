/// How Redis looks from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// It answers nothing.
    pub away: bool,
    /// Nothing that is published arrives although it answers: other instances serve better.
    pub deaf: bool,
}
