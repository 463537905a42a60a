// What the examples of the documentation begin with: a node with a space, and one ticket in it.
//
// Doctests include it, as `include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));`: a path
// from the root, so that all of them are built as one program. It cannot begin with an inner doc comment.

/// A thing to do at the repair shop.
#[derive(
    Clone,
    Debug,
    PartialEq,
    driftless::Reconcile,
    driftless::Hydrate,
    driftless::Serialize,
    driftless::Deserialize,
)]
struct Ticket {
    title: String,
    done: bool,
}

impl driftless::Entity for Ticket {
    const COLLECTION: &'static str = "tickets";
    const VERSION: u32 = 1;
}

/// What an example starts from: the directory, which goes when it is dropped, the node, the space, its
/// tickets and the id of the one that is there.
type Shop = (
    tempfile::TempDir,
    driftless::Node,
    driftless::Space,
    driftless::Collection<Ticket>,
    driftless::EntityId,
);

/// Opens a node that is reached from its own device only, and founds a space with the ticket `"wheel"`.
async fn shop() -> Result<Shop, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let node = driftless::Node::builder(dir.path()).listen(([127, 0, 0, 1], 0));
    let node = node.discovery(false).open().await?;
    let space = node.create_space("Corner Repairs").await?;
    let tickets = space.collection::<Ticket>()?;
    let id = tickets.insert(&Ticket { title: "wheel".to_owned(), done: false }).await?;
    Ok((dir, node, space, tickets, id))
}
