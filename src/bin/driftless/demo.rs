//! The demonstration: three devices run a repair shop over real connections, part, and agree again.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use driftless::{EntityId, Role, SyncStatus, Value};

use super::shop::{Device, Employee, Part, Ticket};
use super::table::Table;

type Done = Result<(), Box<dyn Error>>;

/// The demonstration takes a second or two; a machine that needs longer than this has a problem.
const PATIENCE: Duration = Duration::from_secs(60);

/// The devices, and what they work on.
struct Scene {
    desk: Device,
    bench: Device,
    van: Device,
    ticket: EntityId,
    part: EntityId,
}

/// Plays the scenes in order. Fails when the devices do not end up with the same.
pub(crate) async fn run(out: &mut impl Write) -> Done {
    let dir = Scratch::create()?;
    let played = tokio::time::timeout(PATIENCE, play(out, dir.path())).await;
    played.map_err(|_| format!("the devices did not agree within {} s", PATIENCE.as_secs()))?
}

async fn play(out: &mut impl Write, dir: &Path) -> Done {
    writeln!(out, "Corner Repairs: three devices, no server.\n")?;
    let scene = open_shop(out, dir).await?;
    refuse(out, &scene).await?;
    part_ways(out, &scene).await?;
    meet_again(out, &scene).await?;
    let equal = compare(out, &scene).await?;
    for device in scene.devices() {
        device.node.close().await?;
    }
    if equal { Ok(()) } else { Err("the devices drifted apart".into()) }
}

impl Scene {
    fn devices(&self) -> [&Device; 3] {
        [&self.desk, &self.bench, &self.van]
    }
}

async fn open_shop(out: &mut impl Write, dir: &Path) -> Result<Scene, Box<dyn Error>> {
    let desk = Device::found(dir, "Ana", "front desk", "Corner Repairs").await?;
    desk.shop.set_rule("employees", Role::Reader, Role::Admin).await?;
    desk.employees.insert(&Employee { name: "Ben".to_owned(), hourly_cents: 2_450 }).await?;
    let ticket = Ticket {
        title: "City bike, rear wheel wobbles".to_owned(),
        status: "open".to_owned(),
        notes: "Wheel out of true.".into(),
        minutes: 0.into(),
    };
    let ticket = desk.tickets.insert(&ticket).await?;
    let part = desk.parts.insert(&Part { name: "spoke 264 mm".to_owned(), stock: 40.into() }).await?;

    let for_ben = desk.shop.invite(Role::Writer).await?;
    let bench = Device::join(dir, "Ben", "workbench", &for_ben).await?;
    let for_cleo = desk.shop.invite(Role::Writer).await?;
    let van = Device::join(dir, "Cleo", "van", &for_cleo).await?;
    let scene = Scene { desk, bench, van, ticket, part };
    agree(&scene).await?;

    writeln!(out, "1. Ana founds the shop and invites Ben and Cleo.\n")?;
    show(out, &scene).await?;
    Ok(scene)
}

async fn refuse(out: &mut impl Write, scene: &Scene) -> Done {
    writeln!(out, "2. Ben is a writer, and only admins write employees. He tries all the same.\n")?;
    let raise = scene.bench.employees.insert(&Employee { name: "Ben".to_owned(), hourly_cents: 9_900 }).await;
    match raise {
        Ok(_) => Err("a writer wrote employees".into()),
        Err(error) => Ok(writeln!(out, "  {}: {error}\n", scene.bench.name)?),
    }
}

async fn part_ways(out: &mut impl Write, scene: &Scene) -> Done {
    let Scene { bench, van, ticket, part, .. } = scene;
    bench.node.pause().await?;
    van.node.pause().await?;
    bench
        .tickets
        .update(*ticket, |ticket| {
            ticket.status = "ready".to_owned();
            ticket.notes.push_str(" Trued, two spokes replaced.");
            ticket.minutes.increment(25);
        })
        .await?;
    bench.parts.update(*part, |part| part.stock.increment(-2)).await?;
    van.tickets
        .update(*ticket, |ticket| {
            ticket.status = "waiting for parts".to_owned();
            ticket.notes.insert(0, "Customer called twice. ");
            ticket.minutes.increment(10);
        })
        .await?;
    van.parts.update(*part, |part| part.stock.increment(-5)).await?;

    writeln!(
        out,
        "3. The workbench and the van go offline. Both change the same ticket and the same stock.\n"
    )?;
    show(out, scene).await
}

async fn meet_again(out: &mut impl Write, scene: &Scene) -> Done {
    let Scene { bench, van, ticket, .. } = scene;
    bench.node.resume().await?;
    van.node.resume().await?;
    agree(scene).await?;

    writeln!(out, "4. They reconnect. Nothing is lost: notes and numbers merge.\n")?;
    show(out, scene).await?;

    writeln!(out, "5. Both changed the status. All devices show one value, and keep the other.\n")?;
    let mut table = Table::with_heads(["field", "value", "by", "on", ""]);
    for conflict in scene.desk.tickets.conflicts(*ticket).await? {
        for (index, value) in conflict.values.iter().enumerate() {
            let (member, device) = match &value.author {
                Some(author) => (author.member_name.as_str(), author.device_name.as_str()),
                None => ("?", "?"),
            };
            let shown = if index == 0 { "shown" } else { "kept" };
            table.row([conflict.field().as_str(), &plain(&value.value), member, device, shown]);
        }
    }
    writeln!(out, "{table}")?;

    writeln!(out, "   Ana settles it by writing the field.\n")?;
    let settle = |ticket: &mut Ticket| ticket.status = "ready, customer called".to_owned();
    let settled = scene.desk.tickets.update(*ticket, settle).await?;
    settled.stored_on(2).await?;
    agree(scene).await?;
    let left = scene.van.tickets.conflicts(*ticket).await?.len();
    writeln!(out, "  conflicts left on the van: {left}\n")?;
    Ok(())
}

async fn compare(out: &mut impl Write, scene: &Scene) -> Result<bool, Box<dyn Error>> {
    writeln!(
        out,
        "6. What each device knows of its own last change to the ticket, and all of its data in one number.\n"
    )?;
    let mut table = Table::with_heads(["device", "ticket is", "pending", "fingerprint"]);
    let mut fingerprints = Vec::new();
    for device in scene.devices() {
        let status = device.shop.status().await?;
        let ticket = match device.tickets.sync_status(scene.ticket).await? {
            SyncStatus::StoredOn(others) if others.len() == 1 => "on 1 other disk".to_owned(),
            SyncStatus::StoredOn(others) => format!("on {} other disks", others.len()),
            SyncStatus::Pending => "on this disk only".to_owned(),
            SyncStatus::NotChangedHere => "not changed here".to_owned(),
            _ => "in a state of another version".to_owned(),
        };
        table.row([device.name, &ticket, &status.pending.to_string(), &status.fingerprint]);
        fingerprints.push(status.fingerprint);
    }
    writeln!(out, "{table}")?;
    fingerprints.dedup();
    let equal = fingerprints.len() == 1;
    writeln!(out, "{}", if equal { "All three hold the same." } else { "They do not hold the same!" })?;
    Ok(equal)
}

/// Waits until all devices have the same fingerprint.
async fn agree(scene: &Scene) -> Done {
    loop {
        for device in scene.devices() {
            device.node.sync_now().await?;
        }
        let mut fingerprints = Vec::new();
        for device in scene.devices() {
            fingerprints.push(device.shop.fingerprint().await?);
        }
        fingerprints.dedup();
        if fingerprints.len() == 1 {
            return Ok(());
        }
    }
}

async fn show(out: &mut impl Write, scene: &Scene) -> Done {
    let mut table = Table::with_heads(["device", "status", "minutes", "spokes", "notes"]);
    for device in scene.devices() {
        let ticket = device.tickets.get(scene.ticket).await?.ok_or("the ticket is gone")?;
        let part = device.parts.get(scene.part).await?.ok_or("the part is gone")?;
        table.row([
            device.name,
            &ticket.status,
            &ticket.minutes.value().to_string(),
            &part.stock.value().to_string(),
            ticket.notes.as_str(),
        ]);
    }
    Ok(writeln!(out, "{table}")?)
}

/// A value as a person writes it.
fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) | Value::Counter(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Time(time) => time.to_string(),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::Null => "nothing".to_owned(),
        Value::List => "a list".to_owned(),
        Value::Map => "several fields".to_owned(),
        _ => "a value of another version".to_owned(),
    }
}

/// A directory that goes away with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn create() -> std::io::Result<Self> {
        let name = format!("driftless-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own tidying of temporary files.
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}
