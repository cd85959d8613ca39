//! The learning rate: one warmup-stable-decay curve over all stages.

/// Linear warmup, a stable stretch, linear decay to a floor; a pure function of the global step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrCurve {
    /// Rate of the stable stretch.
    pub peak: f64,
    /// Rate at the last step.
    pub floor: f64,
    /// Steps of the warmup.
    pub warmup_steps: u64,
    /// First step of the decay.
    pub decay_from: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
}

impl LrCurve {
    /// Learning rate of step `step`, counted from 0 over all stages.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        if step < self.decay_from {
            return self.peak;
        }
        let decay_steps = self.total_steps.saturating_sub(self.decay_from).max(1);
        let done = ((step - self.decay_from + 1) as f64 / decay_steps as f64).min(1.0);
        self.peak + (self.floor - self.peak) * done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curve_rises_stays_and_falls() {
        let curve =
            LrCurve { peak: 1.0, floor: 0.1, warmup_steps: 4, decay_from: 10, total_steps: 19 };
        let drawn: Vec<f64> = (0..20).map(|s| (curve.at(s) * 1000.0).round() / 1000.0).collect();
        assert_eq!(drawn[..4], [0.25, 0.5, 0.75, 1.0]);
        assert!(drawn[4..10].iter().all(|&lr| lr == 1.0));
        assert_eq!(drawn[10..], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1]);
    }
}
