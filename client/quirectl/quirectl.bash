# Completion of quirectl's commands, options, namespaces, sessions and files for bash.
# Commands and options come from `quirectl help --names`, so they are always those of the installed program.

_quirectl() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} names words=() i command
  local globals="--socket --json --timeout --help --version" socket=()
  COMPREPLY=()
  names=$(quirectl help --names 2>/dev/null) || return 0
  # The words of the command so far, without options and their values.
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      -s | --socket) socket=(--socket "${COMP_WORDS[i + 1]}"); ((i++)) ;;
      -t | --timeout | --ns | --key | --tokens | --bytes | --domain | --interval | --segment | --from | --limit) ((i++)) ;;
      -*) ;;
      *) words+=("${COMP_WORDS[i]}") ;;
    esac
  done
  case $before in
    -s | --socket | --tokens) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return 0 ;;
    --ns) mapfile -t COMPREPLY < <(compgen -W "$(quirectl --timeout 500ms "${socket[@]}" ns list --names 2>/dev/null)" -- "$word"); return 0 ;;
    -t | --timeout | --key | --bytes | --domain | --interval | --segment | --from | --limit) return 0 ;;
  esac
  [ "${words[0]-}" = help ] && words=("${words[@]:1}") && globals=""
  command=$(printf '%s\n' "$names" | sed -n "s/^\(${words[0]-none} ${words[1]-none}\|${words[0]-none}\): .*/\1/p" | sort -r | head -n 1)
  case $word in
    -*)
      mapfile -t COMPREPLY < <(compgen -W "$globals $(printf '%s\n' "$names" | sed -n "s/^$command: //p")" -- "$word")
      return 0
      ;;
  esac
  case ${#words[@]} in
    0) mapfile -t COMPREPLY < <(compgen -W "$(printf '%s\n' "$names" | sed 's/[ :].*//' | sort -u)" -- "$word") ;;
    1) mapfile -t COMPREPLY < <(compgen -W "$(printf '%s\n' "$names" | sed -n "s/^${words[0]} \([a-z-]*\):.*/\1/p")" -- "$word") ;;
  esac
  case $command in
    "ns show" | "ns delete")
      mapfile -t COMPREPLY < <(compgen -W "$(quirectl --timeout 500ms "${socket[@]}" ns list --names 2>/dev/null)" -- "$word")
      ;;
    verify | "log dump")
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      ;;
    "fault add")
      mapfile -t COMPREPLY < <(compgen -W "read:delay= read:error= read:corrupt= write:delay= write:error= write:tear= write:corrupt= write:fill= sync:delay= sync:error=" -- "$word")
      compopt -o nospace 2>/dev/null
      ;;
  esac
}

complete -F _quirectl quirectl
