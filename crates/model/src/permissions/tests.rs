//! Laws of the lattice on random trees of grants, and the stories that the rules were made for.
//!
//! `RADDLE_PERMISSION_TREES=1000000` takes more trees than the usual few thousand; a failure names its seed.

use super::*;

/// Marsaglia's xorshift: every tree follows from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

const SERVERS: &[&str] = &["git", "git__hub"];
const RULES: &[&str] = &[
    "Read",
    "Write",
    "Bash",
    "Task",
    "Agent",
    "Bash(*)",
    "Bash(ls *)",
    "Bash(ls -l *)",
    "Bash(git:*)",
    "Bash(git log*)",
    "Bash(git)",
    "git:*",
    "git:list",
    "mcp__git__hub__list",
    "git__hub:*",
];
const PATTERNS: &[&str] = &[
    "/**",
    "/etc/**",
    "/etc",
    "/*/passwd",
    "./**",
    ".",
    "./w/**",
    "./w",
    "./w/*",
    "./w/a*/**",
    "./w/a",
    "./w/*.rs",
    "../**",
    "../x/**",
    "../../**",
    "./w/../x/**",
    "/etc/../home/**",
    "./a*b",
    "./w/*/c",
];
const PATHS: &[&str] = &[
    "/",
    "/etc",
    "/etc/passwd",
    "w",
    "w/a",
    "w/a.rs",
    "w/ab/c",
    "w/x/c",
    "w/../x/y",
    "../x/z",
    "../../q",
    "w/../../etc",
    "a*b",
    "aXb",
    "/home/u",
    ".",
    "w/a/../../x",
];
const MODELS: &[&str] = &["sonnet", "claude-sonnet-4.5", "Sonnet", "haiku", "opus", "sonnet-x", "4", "claude"];
const COMMANDS: &[&str] =
    &["ls", "ls -l", "ls -l a", "git", "git log", "git logs -p", "id", "ls; id", "ls $(id)", "lsof"];

fn rules(dice: &mut Dice) -> ToolRule {
    ToolRule::parse(dice.one(RULES), &|s| SERVERS.contains(&s)).expect("every rule of the list is one")
}

fn patterns(dice: &mut Dice) -> PathPattern {
    PathPattern::parse(dice.one(PATTERNS)).expect("every pattern of the list is one")
}

fn maybe<T>(dice: &mut Dice, one: impl Fn(&mut Dice) -> T) -> Option<Scope<T>> {
    match dice.roll(8) {
        0..=3 => None,
        4 => Some(Scope::All),
        5 => Some(Scope::Only(Vec::new())),
        n => Some(Scope::Only((0..=n - 5).map(|_| one(dice)).collect())),
    }
}

fn request(dice: &mut Dice, depth: usize) -> Request {
    let written = Request {
        tools: maybe(dice, rules),
        read: maybe(dice, patterns),
        write: maybe(dice, patterns),
        deny: (0..dice.roll(3)).map(|_| patterns(dice)).collect(),
        network: [None, Some(NetworkAccess::None), Some(NetworkAccess::Full)][dice.roll(3)],
        models: maybe(dice, |dice| ModelRule::new(dice.one(MODELS))),
        cost_budget: [None, Some(0.0), Some(0.1), Some(2.5)][dice.roll(4)],
        delegate: (depth == 0 && dice.roll(3) == 0).then(|| Box::new(request(dice, 1))),
    };
    match dice.roll(6) {
        0 => written.or(Preset::WORDS[dice.roll(Preset::WORDS.len())].1.request()),
        _ => written,
    }
}

/// Asks both the same things; whatever the narrow one allows, the wide one must allow.
fn nothing_more(wide: &Grant, narrow: &Grant, dice: &mut Dice) -> Result<(), String> {
    let same = |what: &str, wide: Answer, narrow: Answer| match narrow.allowed && !wide.allowed {
        true => Err(format!("{what}: {} against {}", narrow.rule, wide.rule)),
        false => Ok(()),
    };
    for _ in 0..4 {
        let (path, command, model) = (dice.one(PATHS), dice.one(COMMANDS), dice.one(MODELS));
        let at = Location::parse(path).map_err(|e| format!("{path}: {e}"))?;
        same(path, wide.path(Access::Read, &at), narrow.path(Access::Read, &at))?;
        same(path, wide.path(Access::Write, &at), narrow.path(Access::Write, &at))?;
        same(command, wide.command(command), narrow.command(command))?;
        same(model, wide.model(model), narrow.model(model))?;
        same("git:list", wide.server_tool("git", "list"), narrow.server_tool("git", "list"))?;
        let tool = dice.one(TOOLS);
        same(tool, wide.tool(tool), narrow.tool(tool))?;
    }
    same("network", wide.network_use(), narrow.network_use())?;
    match (wide.cost_budget, narrow.cost_budget) {
        (Some(most), None) => Err(format!("no budget under one of {most}")),
        (Some(most), Some(budget)) if budget > most => Err(format!("a budget of {budget} under one of {most}")),
        _ => Ok(()),
    }
}

fn grow(parent: &Permissions, dice: &mut Dice, depth: usize) -> Result<(), String> {
    for _ in 0..=dice.roll(2) {
        let asked = request(dice, 0);
        let (child, excess) = parent.child(&asked);
        for grant in [child.usable(), child.delegable()] {
            if !parent.delegable().contains(grant) {
                return Err(format!("{grant:?}\nis not within\n{:?}\nasked: {asked:?}", parent.delegable()));
            }
            nothing_more(parent.delegable(), grant, dice)?;
        }
        let (again, _) = parent.child(&asked);
        if again != child {
            return Err("the same question has two answers".into());
        }
        if let (true, Some(tools)) = (excess.is_empty(), &asked.tools)
            && !child.usable().tools.contains(tools)
        {
            return Err(format!("less than was asked for, and nothing was told: {asked:?}"));
        }
        if depth < 4 && dice.roll(3) > 0 {
            grow(&child, dice, depth + 1)?;
        }
    }
    Ok(())
}

#[test]
fn no_child_may_more_than_its_parent_may_delegate() {
    let trees = std::env::var("RADDLE_PERMISSION_TREES").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000_u64);
    for seed in 1..=trees {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        if let Err(told) = grow(&Permissions::everything(), &mut dice, 0) {
            panic!("tree {seed}: {told}");
        }
    }
}

fn only(tools: &[&str]) -> Option<Scope<ToolRule>> {
    let parse = |text: &&str| ToolRule::parse(text, &|_| false).expect("a rule");
    Some(Scope::Only(tools.iter().map(parse).collect()))
}

#[test]
fn use_and_delegate_are_two_things() {
    let orchestrator = Request {
        tools: only(&["Read"]),
        delegate: Some(Box::new(Request { tools: only(&["Read", "Bash(cargo *)"]), ..Request::default() })),
        ..Request::default()
    };
    let (parent, excess) = Permissions::everything().child(&orchestrator);
    assert_eq!(excess, []);
    assert!(!parent.usable().command("cargo test").allowed);
    let (silent, _) = parent.child(&Request::default());
    assert!(silent.usable().tool("Read").allowed && !silent.usable().tool("Bash").allowed);
    let (builder, excess) = parent.child(&Request { tools: only(&["Bash(cargo test *)"]), ..Request::default() });
    assert!(excess.is_empty() && builder.usable().command("cargo test --all").allowed);
    let (greedy, excess) = parent.child(&Request { tools: only(&["Bash", "Read"]), ..Request::default() });
    assert_eq!(excess.iter().map(|e| (e.field, e.value.as_str())).collect::<Vec<_>>(), [("tools", "Bash")]);
    assert!(!greedy.usable().command("id").allowed && greedy.usable().command("cargo x").allowed);
}

#[test]
fn empty_is_nothing_and_denies_stay() {
    let pattern = |text: &str| PathPattern::parse(text).expect("a pattern");
    let parent = Request {
        tools: only(&[]),
        read: Some(Scope::Only(vec![pattern("./w/**")])),
        deny: vec![pattern("./w/secrets/**")],
        ..Request::default()
    };
    let (parent, _) = Permissions::everything().child(&parent);
    let asked = Request { read: Some(Scope::Only(vec![pattern("./w/secrets/**")])), ..Request::default() };
    let (child, excess) = parent.child(&asked);
    assert_eq!(excess, []);
    let at = |path: &str| Location::parse(path).expect("a path");
    assert!(!child.usable().path(Access::Read, &at("w/secrets/k")).allowed);
    assert!(!child.usable().tool("Read").allowed);
    assert!(
        child.usable().path(Access::Write, &at("w/a")).allowed
            && !child.usable().path(Access::Read, &at("w/a")).allowed
    );
}

#[test]
fn families_of_models() {
    let (parent, _) = Permissions::everything()
        .child(&Request { models: Some(Scope::Only(vec![ModelRule::new("sonnet")])), ..Request::default() });
    for (name, allowed) in [
        ("sonnet", true),
        ("claude-sonnet-4.5", true),
        ("Claude-Sonnet-5", true),
        ("haiku", false),
        ("mysonnets", false),
    ] {
        assert_eq!(parent.usable().model(name).allowed, allowed, "{name}");
    }
}
