# completions.zsh DIRECTORY LINE...: what zsh lists when TAB is pressed behind each line, with the
# completion functions in DIRECTORY.
zmodload zsh/zpty
integer count=0
TERM=dumb zpty z zsh -f -i

# Ends the line that is there, and waits until zsh reads the next one.
settle()
{
	(( ++count ))
	zpty -w -n z $'\x15'"print -r -- en''d$count"$'\n'
	zpty -r z seen "*end$count*ready> "
}

zpty -w z "COLUMNS=150; LINES=500; LISTMAX=1000; unset zle_bracketed_paste; fpath=($1 \$fpath)
	autoload -Uz compinit; compinit -u -d ${1:h}/zcompdump; bindkey '^I' list-choices
	setopt no_always_last_prompt no_prompt_sp; PS1='rea'\"dy> \""
zpty -r z seen '*ready> '
shift
for line; do
	zpty -w -n z "$line"$'\t'
	settle
	# Echo of the line; the list; the prompt and the line again, and what settle does.
	seen=${${seen//$'\r'/}#*$'\n'}
	print -r -- "${seen%%$'\n'ready> *}"
done
zpty -d z
