//! Graphs as SVG, in layers from top to bottom: a box is one rank below the lowest of those that it reads.
//!
//! The steps are those of Sugiyama, Tagawa and Toda ("Methods for visual understanding of hierarchical system structures",
//! 1981): ranks; points for edges to pass through ranks between their ends; order within ranks by the mean place of the
//! neighbours; coordinates. All edges of a box that pass a rank share one point there.

use super::view::{Kind, View};
use std::collections::HashMap;
use std::fmt::Write;

/// Boxes of a drawing at most: more are not legible.
pub const BOXES: usize = 400;
/// Width of a character and height of a line of text, in pixels.
const CHAR: f64 = 6.7;
const LINE: f64 = 14.0;
/// Space around text in a box, between boxes of a rank, and between ranks.
const PAD: f64 = 8.0;
const GAP: f64 = 18.0;
const RANK_GAP: f64 = 36.0;
/// Walks over the ranks, down and up, that order them.
const SWEEPS: usize = 8;

/// A box, or a point that edges pass through.
struct Item {
    rank: usize,
    width: f64,
    height: f64,
    /// Centre.
    x: f64,
    y: f64,
}

struct Layout {
    /// The boxes of the view, then points.
    items: Vec<Item>,
    /// Between neighbouring ranks, from upper to lower.
    links: Vec<(usize, usize)>,
    ranks: Vec<Vec<usize>>,
}

/// The drawing, or `None` where there are more than [`BOXES`].
pub fn svg(view: &View) -> Option<String> {
    if view.boxes.len() > BOXES {
        return None;
    }
    let mut layout = Layout::new(view);
    layout.order();
    let (width, height) = layout.place();
    Some(draw(view, &layout, width, height))
}

impl Layout {
    fn new(view: &View) -> Layout {
        let ranks = ranks(view);
        let item = |(node, &rank): (&super::view::Box, &usize)| {
            let columns = node.lines.iter().map(|l| l.chars().count()).max().unwrap_or(0);
            Item {
                rank,
                width: columns as f64 * CHAR + 2.0 * PAD,
                height: node.lines.len() as f64 * LINE + 2.0 * PAD,
                x: 0.0,
                y: 0.0,
            }
        };
        let mut layout = Layout {
            items: view.boxes.iter().zip(&ranks).map(item).collect(),
            links: Vec::new(),
            ranks: Vec::new(),
        };
        let mut points: HashMap<(usize, usize), usize> = HashMap::new();
        for &(from, to) in &view.edges {
            let mut above = from;
            for rank in ranks[from] + 1..ranks[to] {
                let known = points.get(&(from, rank)).copied();
                let point = known.unwrap_or_else(|| layout.point(rank, above));
                points.insert((from, rank), point);
                above = point;
            }
            layout.links.push((above, to));
        }
        let last = layout.items.iter().map(|i| i.rank).max().unwrap_or(0);
        layout.ranks = vec![Vec::new(); last + 1];
        for (i, item) in layout.items.iter().enumerate() {
            layout.ranks[item.rank].push(i);
        }
        layout
    }

    /// A point in a rank, linked to what is above it.
    fn point(&mut self, rank: usize, above: usize) -> usize {
        let point = self.items.len();
        let (width, height, x, y) = (1.0, 0.0, 0.0, 0.0);
        self.items.push(Item {
            rank,
            width,
            height,
            x,
            y,
        });
        self.links.push((above, point));
        point
    }

    /// Orders each rank by the mean place of the neighbours in the rank before, down and up in turn.
    fn order(&mut self) {
        let mut above = vec![Vec::new(); self.items.len()];
        let mut below = vec![Vec::new(); self.items.len()];
        for &(from, to) in &self.links {
            above[to].push(from);
            below[from].push(to);
        }
        let mut places = vec![0.0f64; self.items.len()];
        for sweep in 0..SWEEPS {
            let down = sweep % 2 == 0;
            let neighbours = if down { &above } else { &below };
            for r in 0..self.ranks.len() {
                let rank = if down { r } else { self.ranks.len() - 1 - r };
                let mean = |i: usize| match neighbours[i].as_slice() {
                    [] => places[i],
                    near => near.iter().map(|&n| places[n]).sum::<f64>() / near.len() as f64,
                };
                let mut keyed: Vec<(f64, usize)> = self.ranks[rank].iter().map(|&i| (mean(i), i)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.ranks[rank] = keyed.into_iter().map(|(_, i)| i).collect();
                for (place, &i) in self.ranks[rank].iter().enumerate() {
                    places[i] = place as f64;
                }
            }
        }
    }

    /// Sets coordinates, each rank centred, and returns width and height of all.
    fn place(&mut self) -> (f64, f64) {
        let items = &mut self.items;
        let width_of =
            |rank: &Vec<usize>, items: &[Item]| rank.iter().map(|&i| items[i].width + GAP).sum::<f64>() + GAP;
        let width = self.ranks.iter().map(|r| width_of(r, items)).fold(0.0, f64::max);
        let mut y = GAP;
        for rank in &self.ranks {
            let tall = rank.iter().map(|&i| items[i].height).fold(0.0, f64::max);
            let mut x = (width - width_of(rank, items)) / 2.0 + GAP;
            for &i in rank {
                // Edges cross a rank straight down, beside its boxes.
                if items[i].height == 0.0 {
                    items[i].height = tall;
                }
                items[i].x = x + items[i].width / 2.0;
                items[i].y = y + tall / 2.0;
                x += items[i].width + GAP;
            }
            y += tall + RANK_GAP;
        }
        (width, y - RANK_GAP + GAP)
    }
}

/// One below the lowest that is read; what reads nothing stands just above the highest of its readers.
fn ranks(view: &View) -> Vec<usize> {
    let mut ranks = vec![0; view.boxes.len()];
    let mut roots = vec![true; view.boxes.len()];
    // Edges come in the order of the boxes that they lead to.
    for &(from, to) in &view.edges {
        ranks[to] = ranks[to].max(ranks[from] + 1);
        roots[to] = false;
    }
    let mut lowest: HashMap<usize, usize> = HashMap::new();
    for &(from, to) in &view.edges {
        let rank = lowest.entry(from).or_insert(ranks[to]);
        *rank = ranks[to].min(*rank);
    }
    for (i, _) in roots.iter().enumerate().filter(|(_, root)| **root) {
        ranks[i] = lowest.get(&i).map_or(0, |rank| rank - 1);
    }
    ranks
}

fn draw(view: &View, layout: &Layout, width: f64, height: f64) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"monospace\" font-size=\"11\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        escaped(&view.name)
    );
    for &(from, to) in &layout.links {
        let (a, b) = (&layout.items[from], &layout.items[to]);
        let (top, bottom) = (a.y + a.height / 2.0, b.y - b.height / 2.0);
        let middle = (top + bottom) / 2.0;
        let _ = writeln!(
            out,
            "<path d=\"M{:.1} {top:.1} C{:.1} {middle:.1} {:.1} {middle:.1} {:.1} {bottom:.1}\" fill=\"none\" \
             stroke=\"#888\"/>",
            a.x, a.x, b.x, b.x
        );
    }
    for point in &layout.items[view.boxes.len()..] {
        let (x, top) = (point.x, point.y - point.height / 2.0);
        let _ = writeln!(
            out,
            "<path d=\"M{x:.1} {top:.1} V{:.1}\" stroke=\"#888\"/>",
            top + point.height
        );
    }
    for (node, item) in view.boxes.iter().zip(&layout.items) {
        let style = match node.kind {
            Kind::Input => "fill=\"white\" stroke=\"#666\" stroke-dasharray=\"4 3\"",
            Kind::Op => "fill=\"#f6f6f6\" stroke=\"#444\"",
            Kind::Fused => "fill=\"#dbe9f6\" stroke=\"#357\"",
        };
        let (left, top) = (item.x - item.width / 2.0, item.y - item.height / 2.0);
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"3\" {style}/>",
            item.width, item.height
        );
        for (n, line) in node.lines.iter().enumerate() {
            let weight = if n == 0 { " font-weight=\"bold\"" } else { "" };
            let y = top + PAD + (n as f64 + 0.8) * LINE;
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{y:.1}\"{weight}>{}</text>",
                left + PAD,
                escaped(line)
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Text of an XML element; characters that XML cannot hold are replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
