# What a host's release is made of, as src/tree/layout.ts and src/tree/tracked.ts lay it out, with the same errors: tracked
# directories, each symlink that leaves the copied directory replaced by what it points to.
#
# Input: lines of `git ls-tree -r -l --full-tree`. $links: lines of a symlink's blob, a blank, and its text. In both, and in
# what comes out, %25 stands for % and %0A for a line end. $tree: the host's entry in fleet.json. $prefix: the fleet's
# directory in the repository. Output: lines for `git update-index --index-info`.

def unescaped: if contains("%") then split("%0A") | join("\n") | split("%25") | join("%") else . end;
def escaped: split("%") | join("%25") | split("\n") | join("%0A");

def fail($message; $hint): error({ $message, $hint });
def submodule($file):
  fail("\($file) is a git submodule, which is not staged"; "use it as a flake input, or take its files into the repository");
def nothing_there($link; $target; $goal):
  fail("\($link) -> \($target): git tracks nothing there"; "git add \(if $goal == "" then $target else $goal end)");

def parent: split("/") | .[:-1] | join("/");
def beside($dir): if $dir == "" then . else "\($dir)/\(.)" end;
def within($dir): $dir == "" or . == $dir or startswith("\($dir)/");
def joined($place):
  reduce (split("/") + ($place | split("/")))[] as $part ([];
    if $part == "" or $part == "." then . elif $part == ".." then .[:-1] else . + [$part] end) | join("/");

# More than any configuration has.
def max_bytes: 1073741824;
# As many as Linux follows.
def max_hops: 40;

def laid_out($files; $children; $texts):
  def mode($file): $files[$file].mode;
  def text($link): $texts[$files[$link].blob];

  # Whether there is anything of a file in a copy of what $kept names: it, a part of it, or what it is a part of.
  def included($kept): . as $file
    | $kept == null or any($kept[]; . as $place | ($file | within($place)) or ($place | within($file)));

  # Follows a symlink hop by hop over tracked files. `stays`: it means the same in a copy of $within and $kept.
  def walked($link; $start; $target; $within; $kept; $hops):
    if $target | startswith("/") then
      fail("\($link) -> \($target): an absolute symlink means another place on the host";
        "make it a relative link to something in the repository")
    else . end
    | reduce ($target | split("/")[] | select(. != "" and . != ".")) as $part
        ({ at: $start, through: false, stays: true, hops: $hops };
          if mode(.at) != "directory" then nothing_there($link; $target; .at)
          elif $part != ".." then .at |= (. as $dir | $part | beside($dir))
          elif .at == "" then
            fail("\($link) -> \($target): it leaves the repository"; "bring what it points to into the repository")
          # In the copy the link before it will be a directory, whose `..` is another.
          else .at |= parent | if .through then .stays = false else . end end
          | if .through or (.at | within($within) and included($kept)) then . else .stays = false end
          | if mode(.at) == "120000" then
              .hops += 1
              | if .hops > max_hops then fail("\($link) -> \($target): a loop of symlinks"; null) else . end
              | walked($link; .at | parent; text(.at); $within; $kept; .hops) as $goal
              | .at = $goal.at | .hops = $goal.hops | .through = true
            else . end);

  def file($file; $target):
    { mode: (if mode($file) == "100755" then "100755" else "100644" end), target: $target, source: $file }
    + ($files[$file] | { blob, size });

  # $through: the directories that symlinks led to on the way here.
  def directory($source; $target; $kept; $through):
    def below($dir; $target; $through):
      $children[$dir][]
      | beside($dir) as $file | "\($target)/\(.)" as $target
      | select($file | included($kept))
      | if $file | contains("\ufffd") then fail("\($file): its name is not valid UTF-8"; "git mv it to another name") else . end
      | mode($file) as $mode
      | if $mode == "directory" then below($file; $target; $through)
        elif $mode == "160000" then submodule($file)
        elif $mode != "120000" then file($file; $target)
        else
          walked($file; $file | parent; text($file); $source; $kept; 0) as $goal
          | mode($goal.at) as $mode
          | if $mode == null then nothing_there($file; text($file); $goal.at)
            elif $goal.stays then { mode: "120000", target: $target, blob: $files[$file].blob, size: 0 }
            elif $mode == "directory" then directory($goal.at; $target; null; $through)
            elif $mode == "160000" then submodule($goal.at)
            else file($goal.at; $target) end
        end;
    if any($through[]; . == $source) then
      fail("a symlink leads back to \(if $source == "" then "the repository" else $source end), "
        + "which it is in: the tree would never end"; null)
    else below($source; $target; $through + [$source]) end;

  ($prefix | joined($tree.path)) as $source
  | (if $tree.include == null then null else [$tree.include[] as $place | $source | joined($place)] end) as $kept
  | if mode($source) != "directory" then fail("git tracks no file in \($tree.path)/"; "git add \($tree.path)") else . end
  | ([($kept // [])[] | select(mode(.) == null)] | first) as $nowhere
  | if $nowhere != null then
      fail("include: git tracks nothing at \(if $source == "" then $nowhere else $nowhere[($source | length) + 1:] end)";
        "git add \($nowhere), or take it out of the host's include")
    else . end
  | directory($source; "tree"; $kept; []),
    (($prefix | joined("secrets/\($host)")) as $secrets
      | select(mode($secrets) == "directory") | directory($secrets; "secrets"; null; []));

def listed: index("\t") as $tab
  | (.[:$tab] | split(" ") | map(select(. != ""))) as [$mode, $_, $blob, $size]
  | { path: (.[$tab + 1:] | unescaped), file: { $mode, $blob, size: ($size | tonumber? // 0) } };

def main:
  [inputs | listed] as $listed
  | [$listed[].path | split("/") | range(length) as $n | { dir: .[:$n] | join("/"), name: .[$n] }] as $places
  | ($places | group_by(.dir) | map({ (.[0].dir):
      # What is below a directory stands together in git's order.
      [foreach .[].name as $name ({}; { last: .name, $name }; select(.name != .last).name)] }) | add) as $children
  | (($children // {} | map_values({ mode: "directory" })) + { "": { mode: "directory" } }
      + ($listed | map({ (.path): .file }) | add)) as $files
  | ($links | split("\n") | map(select(. != "") | { (.[:40]): (.[41:] | unescaped) }) | add) as $texts
  | [laid_out($files; $children; $texts // {})]
  | (reduce .[] as $entry (0; . + $entry.size
      | if . > max_bytes then
          fail("the tree is larger than \(max_bytes / 1048576) MiB, at \($entry.source)";
            "fetch large files from a server (pkgs.fetchurl) instead of keeping them in git")
        else . end)) as $_
  | .[] | "\(.mode) \(.blob)\t\(.target | escaped)";

try main catch (
  if type == "object" then "\(.message)\(if .hint == null then "" else " (\(.hint))" end)"
    | split("\n") | join("?") | halt_error(65)
  else tostring | halt_error(1) end)
