//! Which processors this process may use, and how they share cores and memory.
//!
//! Read from Linux's `/sys/devices/system` (`cpu/cpuN/topology`, `node/nodeN/cpulist`; kernel documentation,
//! `Documentation/ABI/stable/sysfs-devices-system-cpu` and `-node`). Where a file is missing, a processor is a core of
//! its own on node 0.

use crate::affinity;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Most processors that a list may name: more than any system has.
const MOST: usize = 1 << 16;

/// A processor as the system counts them: a core, or one of its hardware threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cpu {
    /// Its number.
    pub number: usize,
    /// The lowest processor of the same core, this one included.
    pub core: usize,
    /// Which hardware thread of its core it is among those that may be used, from 0.
    pub sibling: usize,
    /// Its NUMA node.
    pub node: usize,
}

/// The processors that this process may use, those that threads should be placed on first at the front: one of every
/// core before a second one of any, and in each round one NUMA node after another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topology {
    cpus: Vec<Cpu>,
}

impl Topology {
    /// This machine's, as far as the process's affinity mask allows.
    pub fn host() -> Topology {
        let allowed = affinity::allowed().unwrap_or_else(|_| (0..parallelism()).collect());
        Topology::read(Path::new("/sys/devices/system"), &allowed)
    }

    /// That of the processors `allowed`, as the tree at `system` describes them.
    pub fn read(system: &Path, allowed: &[usize]) -> Topology {
        let nodes = nodes(&system.join("node"));
        let mut siblings: BTreeMap<usize, usize> = BTreeMap::new();
        let mut allowed = allowed.to_vec();
        allowed.sort_unstable();
        allowed.dedup();
        let cpus = allowed.into_iter().map(|number| {
            let core = core(&system.join(format!("cpu/cpu{number}/topology"))).unwrap_or(number);
            let sibling = siblings.entry(core).or_default();
            *sibling += 1;
            Cpu {
                number,
                core,
                sibling: *sibling - 1,
                node: nodes.get(&number).copied().unwrap_or(0),
            }
        });
        let mut cpus: Vec<Cpu> = cpus.collect();
        cpus.sort_by_key(|cpu| (cpu.sibling, cpu.node, cpu.core, cpu.number));
        Topology { cpus }
    }

    /// Processors, hardware threads of a core counted singly.
    pub fn cpus(&self) -> usize {
        self.cpus.len()
    }

    /// Physical cores.
    pub fn cores(&self) -> usize {
        self.cpus.iter().filter(|cpu| cpu.sibling == 0).count()
    }

    /// NUMA nodes.
    pub fn nodes(&self) -> usize {
        count_nodes(&self.cpus)
    }

    /// The threads that are best where nothing else runs: one a physical core, and no more than the time that the
    /// process's control group grants.
    pub fn default_threads(&self) -> usize {
        self.cores().min(parallelism()).max(1)
    }

    /// A processor for each of `threads` threads, threads of one node side by side; `None` where there are too few.
    pub fn place(&self, threads: usize) -> Option<Vec<Cpu>> {
        let mut placed = self.cpus.get(..threads)?.to_vec();
        placed.sort_by_key(|cpu| (cpu.node, cpu.core, cpu.sibling));
        Some(placed)
    }
}

/// NUMA nodes of some processors.
pub fn count_nodes(cpus: &[Cpu]) -> usize {
    let mut nodes: Vec<usize> = cpus.iter().map(|cpu| cpu.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes.len()
}

/// What the standard library makes of affinity mask and control group.
fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// The lowest processor of the core that the files in `topology` describe.
fn core(topology: &Path) -> Option<usize> {
    // The second name is that of kernels before 5.3.
    let text = fs::read_to_string(topology.join("core_cpus_list"))
        .or_else(|_| fs::read_to_string(topology.join("thread_siblings_list")));
    parse_list(&text.ok()?)?.into_iter().min()
}

/// The node of each processor that a node lists.
fn nodes(folder: &Path) -> BTreeMap<usize, usize> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let numbered = entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
        let list = fs::read_to_string(entry.path().join("cpulist")).ok()?;
        Some((number, parse_list(&list)?))
    });
    numbered
        .flat_map(|(node, cpus): (usize, _)| cpus.into_iter().map(move |cpu| (cpu, node)))
        .collect()
}

/// The numbers of a list such as `0-3,8`; `None` for anything else.
fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for range in text.trim().split(',').filter(|r| !r.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as Linux shows it: `cores` are the processors of each core, `nodes` the list of each node.
    fn tree(cores: &[&[usize]], nodes: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for core in cores {
            let list = core.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            for cpu in *core {
                let folder = dir.path().join(format!("cpu/cpu{cpu}/topology"));
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join("core_cpus_list"), format!("{list}\n")).unwrap();
            }
        }
        for (number, list) in nodes.iter().enumerate() {
            let folder = dir.path().join(format!("node/node{number}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("cpulist"), format!("{list}\n")).unwrap();
        }
        fs::create_dir_all(dir.path().join("node/power")).unwrap();
        dir
    }

    /// Two sockets of four cores with two hardware threads, numbered as Intel's are.
    fn two_sockets() -> tempfile::TempDir {
        let cores = [
            [0, 8],
            [1, 9],
            [2, 10],
            [3, 11],
            [4, 12],
            [5, 13],
            [6, 14],
            [7, 15],
        ];
        let cores: Vec<&[usize]> = cores.iter().map(|c| &c[..]).collect();
        tree(&cores, &["0-3,8-11", "4-7,12-15"])
    }

    fn numbers(cpus: Option<Vec<Cpu>>) -> Vec<usize> {
        cpus.unwrap().iter().map(|cpu| cpu.number).collect()
    }

    #[test]
    fn threads_fill_cores_of_a_node_then_the_next_then_siblings() {
        let dir = two_sockets();
        let topology = Topology::read(dir.path(), &(0..16).collect::<Vec<_>>());
        assert_eq!((topology.cpus(), topology.cores(), topology.nodes()), (16, 8, 2));
        assert_eq!(numbers(topology.place(3)), [0, 1, 2]);
        assert_eq!(numbers(topology.place(8)), [0, 1, 2, 3, 4, 5, 6, 7]);
        // The ninth thread is a sibling, on the first core, and stands beside the others of its node.
        assert_eq!(numbers(topology.place(9)), [0, 8, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(count_nodes(&topology.place(4).unwrap()), 1);
        assert_eq!(count_nodes(&topology.place(5).unwrap()), 2);
        assert_eq!(topology.place(17), None);
    }

    #[test]
    fn processors_that_the_mask_leaves_out_do_not_count() {
        let dir = two_sockets();
        // One hardware thread of two cores, both of a third, on the second socket.
        let topology = Topology::read(dir.path(), &[13, 6, 14, 12]);
        assert_eq!((topology.cpus(), topology.cores(), topology.nodes()), (4, 3, 1));
        assert_eq!(numbers(topology.place(3)), [12, 13, 6]);
        assert_eq!(numbers(topology.place(4)), [12, 13, 6, 14]);
    }

    #[test]
    fn without_files_every_processor_is_a_core_of_one_node() {
        let dir = tempfile::tempdir().unwrap();
        let topology = Topology::read(dir.path(), &[2, 0, 1, 2]);
        assert_eq!((topology.cpus(), topology.cores(), topology.nodes()), (3, 3, 1));
        assert_eq!(numbers(topology.place(3)), [0, 1, 2]);
        // Nor do files with something else in them.
        let dir = tree(&[&[0, 1]], &["0-99999999999", "x"]);
        fs::write(dir.path().join("cpu/cpu1/topology/core_cpus_list"), "0-").unwrap();
        let topology = Topology::read(dir.path(), &[0, 1]);
        assert_eq!((topology.cores(), topology.nodes()), (2, 1));
    }

    #[test]
    fn old_names_of_files_are_read() {
        let dir = tree(&[&[0, 1]], &[]);
        for cpu in 0..2 {
            let folder = dir.path().join(format!("cpu/cpu{cpu}/topology"));
            fs::rename(folder.join("core_cpus_list"), folder.join("thread_siblings_list")).unwrap();
        }
        assert_eq!(Topology::read(dir.path(), &[0, 1]).cores(), 1);
    }

    #[test]
    fn lists_are_parsed() {
        assert_eq!(parse_list("0-2,5,7-8\n").unwrap(), [0, 1, 2, 5, 7, 8]);
        assert_eq!(parse_list("\n").unwrap(), []);
        assert_eq!(parse_list("3-1").unwrap(), []);
        for bad in ["a", "1-", "-1", "1,,x", "0-65536"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn this_machine_has_a_processor_for_a_thread() {
        let topology = Topology::host();
        assert!(topology.cpus() >= topology.cores() && topology.nodes() >= 1);
        assert!((1..=topology.cpus()).contains(&topology.default_threads()));
    }
}
