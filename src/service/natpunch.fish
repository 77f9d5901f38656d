# Completion of natpunch for fish. Commands and options are those that `natpunch help` prints.

function __natpunch_commands
    $argv[1] --help 2>/dev/null | string replace -rf '^  ([a-z]+) +(.*)$' '$1\t$2'
end

# The lines of options in the help of a command, as fields with tabs between: letter, name, argument
# and text.
function __natpunch_rows
    $argv[1] help $argv[2] 2>/dev/null |
        string replace -rf '^ +(-[^-])?,? *(--[a-z0-9-]+)?(?: ([^ ]+))?  +(.*)$' '$1\t$2\t$3\t$4'
end

# ARGUMENT TEXT: what can stand for the argument.
function __natpunch_values
    switch $argv[1]
        case '*|*'
            string split '|' -- $argv[1]
        case METHOD FORMAT LIST
            string replace -r '\(.*' '' -- $argv[2] | string replace -a ' or ' , |
                string split , | string trim | string match -r '^[a-z0-9]+$'
        case FILE PATH
            __fish_complete_path (commandline -ct)
        case 'HOST*'
            __fish_print_hostnames
        case IFACE
            __fish_print_interfaces
        case USER
            __fish_complete_users
    end
end

function __natpunch_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    set -l command $words[2]
    if test (count $words) -eq 1
        __natpunch_commands $program
        printf '%s\n' -h\t'print the list of commands' --help\t'print the list of commands' \
            -V\t'print the version' --version\t'print the version'
        return
    end
    if test "$command" = help
        test (count $words) -eq 2; and __natpunch_commands $program
        return
    end
    if contains -- -- $words
        __fish_complete_subcommand --fcs-skip=(contains -i -- -- $words)
        return
    end
    set -l rows (__natpunch_rows $program $command)
    for row in $rows
        set -l fields (string split \t -- $row)
        contains -- $words[-1] $fields[1] $fields[2]; and test -n "$fields[3]"
        or continue
        __natpunch_values $fields[3] $fields[4]
        return
    end
    for row in $rows
        set -l fields (string split \t -- $row)
        for name in $fields[1] $fields[2]
            test -n "$name"; and printf '%s\t%s\n' $name $fields[4]
        end
    end
end

complete -c natpunch -f -a '(__natpunch_complete)'
