/// The figures of one run, side by side.
#[derive(Default)]
pub struct Table {
    rows: Vec<[String; 4]>,
}

impl Table {
    /// `against`: what the peers and the floor had in the same run.
    pub fn row(&mut self, work: &str, tautan: impl Into<String>, against: impl Into<String>, target: &str) {
        self.rows.push([work.to_owned(), tautan.into(), against.into(), target.to_owned()]);
    }

    pub fn print(&self, machine: &str) {
        println!("\n{machine}\n");
        println!("| work | Tautan | beside it, same run | target |\n|---|---|---|---|");
        for [work, tautan, against, target] in &self.rows {
            println!("| {work} | {tautan} | {against} | {target} |");
        }
    }
}

/// A value that `tautan-load` reported; NaN if it did not.
pub fn value(report: &serde_json::Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or(f64::NAN)
}
