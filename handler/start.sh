#!/usr/bin/env bash
# Starts the staged app under Azure Functions Core Tools: start.sh SCRIPT-ROOT. `make start` calls it.
set -euo pipefail
root=$1

missing() {
	printf 'make start: %s\n' "$1" >&2
	exit 1
}

command -v func >/dev/null ||
	missing "func is not installed: install Azure Functions Core Tools (https://aka.ms/azfunc-install), or use make run, which needs nothing"
[ -f local.settings.json ] ||
	missing "local.settings.json is missing: cp local.settings.json.example local.settings.json, and fill it in"
if grep -qi 'DeveloperTool *= *AzureCli' local.settings.json; then
	command -v az >/dev/null || missing "az is not installed: install the Azure CLI (https://aka.ms/azure-cli)"
	az account show >/dev/null 2>&1 || missing "nobody is signed in to the Azure CLI: run az login"
fi

# Core Tools takes the first folder upwards that holds host.json for the app, so the settings have to stand beside the staged one.
cp local.settings.json "$root/local.settings.json"

# Timers need storage even on a laptop; without it their listeners fail again and again. HTTP needs none.
if grep -q '"UseDevelopmentStorage=true"' local.settings.json && ! (exec 3<>/dev/tcp/127.0.0.1/"${AZURITE_PORT:-10000}") 2>/dev/null; then
	echo "make start: nothing answers for storage on 127.0.0.1:${AZURITE_PORT:-10000}: timers are switched off; start Azurite to have them"
	cd "$root"
	off=(AzureWebJobsSecretStorageType=files)
	shopt -s nullglob
	for file in */function.json; do
		if grep -qi '"timerTrigger"' "$file"; then
			off+=("AzureWebJobs.${file%/function.json}.Disabled=true")
			echo "make start: the timer ${file%/function.json} is switched off"
		fi
	done
	exec env "${off[@]}" func start
fi
cd "$root"
exec func start
