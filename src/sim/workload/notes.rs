//! The workload that comes with the simulator: notes of every kind of field, and lines only some may read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Settled, Workload};
use crate::doc::{Counter, Entity, Hydrate, Kind, KindOf, Reconcile, Text, Value};
use crate::id::EntityId;
use crate::sim::{Device, Dice, Tx, Unreadable};

/// A note with one field of each kind.
///
/// # Example
///
/// ```
/// use driftless::{Counter, Text, sim::Note};
///
/// let note = Note {
///     title: "<7>".into(),
///     text: Text::from("<7>"),
///     minutes: Counter::from(5),
///     tags: vec!["<7>".into()],
/// };
/// ```
#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
pub struct Note {
    /// Names the step that wrote it last.
    pub title: String,
    /// Words, each naming the step that wrote it.
    pub text: Text,
    /// The sum of what was added.
    pub minutes: Counter,
    /// Entries, each naming the step that appended it.
    pub tags: Vec<String>,
}

impl Entity for Note {
    const COLLECTION: &'static str = "notes";
    const VERSION: u32 = 1;
}

/// An entry of a journal; only some members may read it when the space has a rule.
///
/// # Example
///
/// ```
/// use driftless::{Entity, sim::Line};
///
/// assert_eq!(Line { step: 7 }.step, 7);
/// assert_eq!(Line::COLLECTION, "lines");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
pub struct Line {
    /// Which step wrote it.
    pub step: u64,
}

impl Entity for Line {
    const COLLECTION: &'static str = "lines";
    const VERSION: u32 = 1;
}

/// Inserts, updates, deletes and restores notes and lines, several in one commit now and then, and knows what must
/// have become of each.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Notes, Options};
/// let options = Options { commits: 4, faults: 1, duration_ms: 5_000, ..Options::default() };
/// let report = sim::run_seeds(0..2, &options, &|| Box::new(Notes::new()));
/// assert!(report.failures.is_empty(), "{report}");
/// ```
#[derive(Debug, Default)]
pub struct Notes {
    /// By space and note.
    history: BTreeMap<(usize, EntityId), History>,
    steps: BTreeMap<u64, Vec<(usize, EntityId)>>,
}

/// What was done to one note, by step.
#[derive(Debug, Default)]
struct History {
    inserts: Vec<u64>,
    titles: Vec<u64>,
    words: Vec<u64>,
    tags: Vec<u64>,
    added: BTreeMap<u64, i64>,
    deletes: Vec<u64>,
    restores: Vec<u64>,
}

impl History {
    fn forget(&mut self, step: u64) {
        let lists = [&mut self.inserts, &mut self.titles, &mut self.words, &mut self.tags];
        lists
            .into_iter()
            .chain([&mut self.deletes, &mut self.restores])
            .for_each(|list| list.retain(|s| *s != step));
        self.added.remove(&step);
    }
}

impl Notes {
    /// Makes the workload.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::{self, Notes, Options};
    /// let options = Options { commits: 4, faults: 1, duration_ms: 5_000, ..Options::default() };
    /// let outcome = sim::run(7, &options, Box::new(Notes::new()));
    /// assert_eq!(outcome.violations, []);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn note(&mut self, device: &Device<'_>, step: u64, entity: EntityId) -> &mut History {
        let place = (device.space(), entity);
        self.steps.entry(step).or_default().push(place);
        self.history.entry(place).or_default()
    }

    fn insert(&mut self, device: &Device<'_>, step: u64, dice: &mut Dice, tx: Tx) -> Result<Tx, Unreadable> {
        // Now and then an id that other devices may take too.
        let entity = match dice.chance(25) {
            true => EntityId::from_key("note", &[dice.below(4) as u8]),
            false => EntityId::new(dice.bytes()),
        };
        let place = (device.space(), entity);
        let deleted = self.history.get(&place).is_some_and(|known| !known.deletes.is_empty());
        if deleted || device.get::<Note>(&entity)?.is_some() {
            return Ok(tx);
        }
        let minutes = dice.between(0..=9) as i64;
        let word = word(step);
        let history = self.note(device, step, entity);
        history.inserts.push(step);
        history.titles.push(step);
        history.words.push(step);
        history.tags.push(step);
        history.added.insert(step, minutes);
        let note = Note {
            title: word.clone(),
            text: Text::from(word.as_str()),
            minutes: Counter::from(minutes),
            tags: vec![word],
        };
        Ok(tx.insert(entity, note))
    }

    fn update(&mut self, device: &Device<'_>, entity: EntityId, step: u64, dice: &mut Dice, tx: Tx) -> Tx {
        let history = self.note(device, step, entity);
        let word = word(step);
        match dice.below(5) {
            0 | 1 => {
                history.titles.push(step);
                tx.update(entity, move |note: &mut Note| note.title = word)
            }
            2 => {
                history.words.push(step);
                let front = dice.chance(50);
                tx.update(entity, move |note: &mut Note| match front {
                    true => note.text.insert(0, &word),
                    false => note.text.push_str(&word),
                })
            }
            3 => {
                let added = dice.between(1..=20) as i64 - 5;
                history.added.insert(step, added);
                tx.update(entity, move |note: &mut Note| note.minutes.increment(added))
            }
            _ => {
                history.tags.push(step);
                tx.update(entity, move |note: &mut Note| note.tags.push(word))
            }
        }
    }

    fn delete(&mut self, device: &Device<'_>, entity: EntityId, step: u64, tx: Tx) -> Tx {
        self.note(device, step, entity).deletes.push(step);
        tx.delete::<Note>(entity)
    }

    fn restore(&mut self, device: &Device<'_>, step: u64, dice: &mut Dice, tx: Tx) -> Result<Tx, Unreadable> {
        let here = self.history.iter().filter(|((space, _), _)| *space == device.space());
        let deleted: Vec<EntityId> =
            here.filter(|(_, known)| !known.deletes.is_empty()).map(|((_, id), _)| *id).collect();
        let Some(entity) = dice.pick(&deleted).copied() else { return Ok(tx) };
        if device.get::<Note>(&entity)?.is_some() {
            return Ok(tx);
        }
        self.note(device, step, entity).restores.push(step);
        Ok(tx.restore::<Note>(entity))
    }

    fn check_note(
        &self,
        device: &Device<'_>,
        settled: &Settled,
        entity: &EntityId,
        history: &History,
    ) -> Result<(), String> {
        let note: Option<Note> = device.get(entity).map_err(|error| error.to_string())?;
        let alive = |steps: &[u64]| -> Vec<u64> {
            steps.iter().copied().filter(|step| settled.survived_in::<Note>(*step)).collect()
        };
        let inserts = alive(&history.inserts);
        let undone = |delete: u64| {
            alive(&history.restores).iter().any(|restore| settled.saw(entity, *restore, delete))
        };
        let deleted = alive(&history.deletes).into_iter().any(|delete| !undone(delete));
        let Some(note) = note else {
            return match deleted || inserts.is_empty() {
                true => Ok(()),
                false => Err(format!("note {} is gone, and nobody deleted it", entity.short())),
            };
        };
        if deleted || inserts.is_empty() {
            return Err(format!("note {} is there: deleted {deleted}, inserted {inserts:?}", entity.short()));
        }
        check_titles(device, settled, entity, history, &note)?;
        if inserts.len() > 1 {
            // Made twice apart: text, list and counter are those of one of the two, the title has both.
            return Ok(());
        }
        let sum: i64 = alive(&history.added.keys().copied().collect::<Vec<_>>())
            .iter()
            .filter_map(|step| history.added.get(step))
            .sum();
        if note.minutes.value() != sum {
            return Err(format!("note {} counts {} instead of {sum}", entity.short(), note.minutes.value()));
        }
        for step in alive(&history.words) {
            if note.text.as_str().matches(&word(step)).count() != 1 {
                return Err(format!("note {}: word {step} is not once in {:?}", entity.short(), note.text));
            }
        }
        let tags: BTreeSet<String> = alive(&history.tags).into_iter().map(word).collect();
        if note.tags.len() != tags.len() || note.tags.iter().cloned().collect::<BTreeSet<_>>() != tags {
            return Err(format!("note {} has tags {:?} instead of {tags:?}", entity.short(), note.tags));
        }
        Ok(())
    }
}

impl Workload for Notes {
    fn kinds(&self) -> Vec<Arc<dyn Kind>> {
        let notes = KindOf::<Note>::new().expect("a valid name");
        let lines = KindOf::<Line>::new().expect("a valid name");
        vec![Arc::new(notes), Arc::new(lines)]
    }

    fn act(&mut self, device: &Device<'_>, step: u64, dice: &mut Dice) -> Result<Tx, Unreadable> {
        // What it did not make is none of its business.
        let known = |id: &EntityId| self.history.contains_key(&(device.space(), *id));
        let rows = device.rows::<Note>()?.into_iter().map(|(entity, _)| entity);
        let ids: Vec<EntityId> = rows.filter(known).collect();
        let mut tx = Tx::new();
        if let Some(entity) = dice.pick(&ids).copied().filter(|_| dice.chance(70)) {
            tx = match dice.below(10) {
                0 => self.delete(device, entity, step, tx),
                1 => self.restore(device, step, dice, tx)?,
                _ => self.update(device, entity, step, dice, tx),
            };
        } else {
            tx = self.insert(device, step, dice, tx)?;
        }
        if dice.chance(25) {
            let others: Vec<EntityId> = ids.into_iter().filter(|id| !self.touched(step, id)).collect();
            if let Some(entity) = dice.pick(&others).copied() {
                tx = self.update(device, entity, step, dice, tx);
            }
        }
        if dice.chance(15) {
            tx = tx.insert(EntityId::new(dice.bytes()), Line { step });
        }
        Ok(tx)
    }

    fn refused(&mut self, step: u64, _reason: &str) {
        for place in self.steps.remove(&step).into_iter().flatten() {
            if let Some(history) = self.history.get_mut(&place) {
                history.forget(step);
            }
        }
    }

    fn check(&self, device: &Device<'_>, settled: &Settled) -> Result<(), String> {
        let here = self.history.iter().filter(|((space, _), _)| *space == device.space());
        for ((_, entity), history) in here {
            self.check_note(device, settled, entity, history)?;
        }
        let lines = device.rows::<Line>().map_err(|error| error.to_string())?;
        // A device that may not read lines any more still shows those that it made and nobody else got.
        for (entity, line) in lines.into_iter().filter(|_| device.may_read::<Line>()) {
            if !settled.survived_in::<Line>(line.step) {
                return Err(format!("line {} is of step {}, which is not there", entity.short(), line.step));
            }
        }
        Ok(())
    }
}

impl Notes {
    fn touched(&self, step: u64, entity: &EntityId) -> bool {
        self.steps.get(&step).is_some_and(|touched| touched.iter().any(|(_, id)| id == entity))
    }
}

/// Every title that nobody replaced knowingly is readable: in the row, or beside it as a concurrent value.
fn check_titles(
    device: &Device<'_>,
    settled: &Settled,
    entity: &EntityId,
    history: &History,
    note: &Note,
) -> Result<(), String> {
    let conflicts = device.conflicts::<Note>(entity).map_err(|error| error.to_string())?;
    let mut readable = BTreeSet::from([note.title.clone()]);
    for value in conflicts.iter().filter(|field| field.path == ["title"]).flat_map(|field| &field.values) {
        if let Value::Text(title) = &value.value {
            readable.insert(title.clone());
        }
    }
    let expected: BTreeSet<String> = settled.latest(entity, &history.titles).into_iter().map(word).collect();
    if readable != expected {
        return Err(format!("note {} has titles {readable:?} instead of {expected:?}", entity.short()));
    }
    Ok(())
}

fn word(step: u64) -> String {
    format!("<{step}>")
}
