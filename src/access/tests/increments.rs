//! Judging one statement more leads to the same as judging all of them anew.

use proptest::prelude::*;

use super::laws::{entangled, played};
use super::*;

/// Orders in which the statements of one graph are inserted.
const ORDERS: u64 = 8;

proptest! {
    // Times the orders: more than two thousand logs. `PROPTEST_CASES` asks for others.
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Adversarial 40. Seen failing without judging the whole log anew in `Log::judge`.
    #[test]
    fn step_by_step_is_the_same_as_at_once_in_every_order(steps in entangled(24), order in any::<u64>()) {
        let play = played(&steps);
        let mut all: Vec<Statement> = play.log.statements().cloned().collect();
        let genesis = all.remove(0);
        for round in 0..ORDERS {
            let mut all = all.clone();
            all.sort_by_key(|statement| {
                let key = order.wrapping_add(round).to_le_bytes();
                *blake3::Hasher::new().update(statement.hash().as_bytes()).update(&key).finalize().as_bytes()
            });
            if round % 2 == 0 {
                all = each_after_its_past(genesis.hash(), all);
            }
            let mut log = Log::from_statements(play.log.space(), [genesis.clone()]).expect("the genesis");
            // In the other orders late statements release those that wait for them.
            for (number, statement) in all.iter().enumerate() {
                prop_assert_eq!(log.insert_unverified(statement.clone()), Ok(true));
                // Memberships are worked out one behind another, or from time to time.
                if number % (1 + round as usize) == 0 {
                    let [step_by_step, at_once] = log.step_by_step_and_at_once();
                    prop_assert_eq!(step_by_step, at_once);
                }
            }
            let [step_by_step, at_once] = log.step_by_step_and_at_once();
            prop_assert_eq!(step_by_step, at_once);
            let (here, there) = (log.membership(), play.log.membership());
            prop_assert_eq!(here.members(), there.members());
        }
    }
}

/// The same order, but for what comes before its past.
fn each_after_its_past(genesis: StatementHash, mut rest: Vec<Statement>) -> Vec<Statement> {
    let mut known = std::collections::BTreeSet::from([genesis]);
    let mut ordered = Vec::new();
    while let Some(next) = rest.iter().position(|other| other.prev().iter().all(|prev| known.contains(prev)))
    {
        let statement = rest.remove(next);
        known.insert(statement.hash());
        ordered.push(statement);
    }
    ordered
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(288)
}
