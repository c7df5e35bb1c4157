# Compares two reports of `lab test --json`: prints what ran in each place, then every fault. A fault ends it with status 1.
{here: $here[0], uml: $uml[0]} as $report
| {here: "tunl0 in user space, here", uml: "the kernel's ipip, in user-mode Linux"} as $place
| def ran: .outcome != "not-run";
  def named($at; $name): $report[$at].scenarios[] | select(.name == $name);
  def verdicts: [.steps[] | {"\(.index). \(.name)": .outcome}] | add;
  def counted($at):
    "\($place[$at]): \($report[$at].summary | "\(.scenarios_run) scenarios, \(.passed) of \(.steps) steps passed")",
    ($report[$at].scenarios[] | select(ran | not) | "  not run: \(.name), because \(.reason)");
  def failures($at):
    $report[$at].scenarios[] | select(ran and .outcome != "passed")
    | "\(.name): \(.outcome), \($place[$at])\(if .reason then ": \(.reason)" else "" end)",
      (.steps[] | select(.outcome != "passed") | "  step \(.index), \(.name): \(.outcome)");
  ([$report[].scenarios[].name] | unique) as $names
| [ (if $names == [] then "no scenario ran" else empty end),
    failures("here"), failures("uml"),
    ( $names[] as $name
    | [named("here"; $name)][0] as $here | [named("uml"; $name)][0] as $uml
    | if $here == null then "\($name): not in the report of here"
      elif $uml == null then "\($name): not in the report of user-mode Linux"
      elif ($here | ran | not) and ($uml | ran | not) then "\($name): ran in neither place"
      elif ($here | ran) and ($uml | ran) and ($here | verdicts) != ($uml | verdicts)
      then "\($name): the verdicts differ" else empty end)
  ] as $faults
| counted("here"), counted("uml"),
  if $faults == [] then empty else ($faults | map("FAULT: \(.)\n") | add | halt_error(1)) end
