//! The repair shop of the demonstration: its types, and a device that works in it.

use std::path::Path;

use driftless::{
    Collection, Counter, Deserialize, Entity, Error, Hydrate, Invite, Node, Reconcile, Serialize,
};
use driftless::{Space, Text};

/// A bicycle in repair.
#[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) title: String,
    pub(crate) status: String,
    pub(crate) notes: Text,
    pub(crate) minutes: Counter,
}

impl Entity for Ticket {
    const COLLECTION: &'static str = "tickets";
    const VERSION: u32 = 1;
}

/// A spare part and how many of it there are.
#[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) stock: Counter,
}

impl Entity for Part {
    const COLLECTION: &'static str = "parts";
    const VERSION: u32 = 1;
}

/// Somebody who works here. Only admins write these.
#[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
pub(crate) struct Employee {
    pub(crate) name: String,
    pub(crate) hourly_cents: i64,
}

impl Entity for Employee {
    const COLLECTION: &'static str = "employees";
    const VERSION: u32 = 1;
}

/// One device with the shop open.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) name: &'static str,
    pub(crate) node: Node,
    pub(crate) shop: Space,
    pub(crate) tickets: Collection<Ticket>,
    pub(crate) parts: Collection<Part>,
    pub(crate) employees: Collection<Employee>,
}

impl Device {
    /// Opens a device and founds the shop on it.
    pub(crate) async fn found(
        dir: &Path,
        member: &'static str,
        name: &'static str,
        shop: &str,
    ) -> Result<Self, Error> {
        let node = open(dir, member, name).await?;
        let shop = node.create_space(shop).await?;
        Self::of(name, node, shop)
    }

    /// Opens a device and lets it join the shop.
    pub(crate) async fn join(
        dir: &Path,
        member: &'static str,
        name: &'static str,
        invite: &Invite,
    ) -> Result<Self, Error> {
        let node = open(dir, member, name).await?;
        let shop = node.join(invite).await?;
        Self::of(name, node, shop)
    }

    fn of(name: &'static str, node: Node, shop: Space) -> Result<Self, Error> {
        Ok(Self {
            name,
            tickets: shop.collection()?,
            parts: shop.collection()?,
            employees: shop.collection()?,
            node,
            shop,
        })
    }
}

async fn open(dir: &Path, member: &'static str, name: &'static str) -> Result<Node, Error> {
    let node = Node::builder(dir.join(name.replace(' ', "-"))).member(member).device(name);
    node.listen(([127, 0, 0, 1], 0)).discovery(false).open().await
}
