//! The smallest app: two devices, one note.
//!
//! Run it with `cargo run --example notes`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use driftless::{Deserialize, Entity, Hydrate, Node, Reconcile, Role, Serialize, Text};

#[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
struct Note {
    text: Text,
}

impl Entity for Note {
    const COLLECTION: &'static str = "notes";
    const VERSION: u32 = 1;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let phone =
        Node::builder(dir.path().join("phone")).listen(([127, 0, 0, 1], 0)).discovery(false).open().await?;
    let laptop =
        Node::builder(dir.path().join("laptop")).listen(([127, 0, 0, 1], 0)).discovery(false).open().await?;

    // The app: ten lines.
    let space = phone.create_space("Notes").await?;
    let notes = space.collection::<Note>()?;
    let id = notes.insert(&Note { text: "Buy milk".into() }).await?;

    let invite = space.invite(Role::Writer).await?;
    let shared = laptop.join(&invite).await?.collection::<Note>()?;
    laptop.sync_now().await?;
    let receipt = shared.update(id, |note| note.text.push_str(" and bread")).await?;
    receipt.stored_on(1).await?;
    println!("On the phone: {}", notes.get(id).await?.map_or_else(String::new, |note| note.text.to_string()));

    laptop.close().await?;
    phone.close().await?;
    Ok(())
}
