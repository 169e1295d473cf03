#!/usr/bin/env bash
# Sets up what `make` needs, and nothing twice.
#
#   deploy/setup.sh venv DIR [LOCK]   a virtual environment with the locked packages and this project in it
#   deploy/setup.sh servers           the Debian packages that the tests use, where they are missing
#
# Needs Python 3.11 or newer; PYTHON=/path/to/python names one. Debian packages are installed when this runs as root
# or with sudo; otherwise it says what to install.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# Debian packages, with their files under /usr/share/doc even where a container image leaves those out.
apt_install() {
    command -v apt-get >/dev/null || fail "please install: $*"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "please run as root: apt-get update && apt-get install $*"
        as_root=(sudo)
    fi
    say "apt-get install $*"
    if [ -z "${updated:-}" ]; then
        "${as_root[@]}" apt-get -qq update || fail "apt-get update failed; then needed: apt-get install $*"
        updated=yes
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends --reinstall \
        -o Dpkg::Options::=--path-include=/usr/share/doc/* -o Dpkg::Use-Pty=0 install "$@" >&2
}

find_python() {
    local name
    for name in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "needs Python 3.11 or newer, found $(python3 --version 2>&1 || true)." \
        "On Ubuntu 22.04: apt-get install python3.11 python3.11-venv; elsewhere name one: make PYTHON=/path/to/python3.11"
}

make_venv() {
    local dir=$1 lock=$2 python
    python=$(find_python)
    if ! "$dir/bin/python" -m pip --version >/dev/null 2>&1; then
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            apt_install "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
        fi
        say "$("$python" --version) in $dir"
        "$python" -m venv --clear "$dir"
    fi
    say "packages of $lock"
    "$dir/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes -r "$lock"
    if [ "$lock" = requirements.lock ]; then
        "$dir/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
    fi
    touch "$dir/.installed"
}

# nginx serves the test sites; the HTML of the Python documentation is the real site that is crawled.
make_servers() {
    PATH=$PATH:/usr/sbin command -v nginx >/dev/null || apt_install nginx-light
    if ! compgen -G '/usr/share/doc/python3*/html/index.html' >/dev/null; then
        apt_install python3.11-doc || apt_install python3-doc "$(apt-cache depends python3-doc | awk '/Depends: python3\./ {print $2}')"
    fi
    make_redis
    make_rabbit
    make_postgres
}

# The tests start servers of their own, with certificates of their own. The service that comes with the package is not
# needed: stopped and off where it was this script that brought it.
make_redis() {
    command -v openssl >/dev/null || apt_install openssl
    if ! command -v redis-server >/dev/null; then
        apt_install redis-server
        if [ -d /run/systemd/system ]; then
            local as_root=()
            [ "$(id -u)" -eq 0 ] || as_root=(sudo)
            "${as_root[@]}" systemctl -q disable --now redis-server.service || say "redis-server.service was left on"
        fi
    fi
    redis-server --version | grep -Eq ' v=([7-9]|[1-9][0-9])\.' ||
        fail "needs Redis 7.0 or newer, found: $(redis-server --version); newer packages: https://packages.redis.io"
}

# Only its programs: the tests start nodes of their own. Debian's package starts one too, which is left off.
make_rabbit() {
    if ! compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server' >/dev/null; then
        apt_install rabbitmq-server
        if [ -d /run/systemd/system ]; then
            local as_root=()
            [ "$(id -u)" -eq 0 ] || as_root=(sudo)
            "${as_root[@]}" systemctl -q disable --now rabbitmq-server.service || say "rabbitmq-server.service was left on"
        fi
    fi
    compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server' >/dev/null ||
        fail "no rabbitmq-server below /usr/lib/rabbitmq; newer packages: https://www.rabbitmq.com/docs/install-debian"
}

# Only its programs: the tests make clusters of their own. Debian's package makes one too, which is left off.
make_postgres() {
    if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
        apt_install postgresql
        if [ -d /run/systemd/system ]; then
            local as_root=()
            [ "$(id -u)" -eq 0 ] || as_root=(sudo)
            "${as_root[@]}" systemctl -q disable --now postgresql.service || say "postgresql.service was left on"
        fi
    fi
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || fail "no initdb below /usr/lib/postgresql"
}

case "${1:-}" in
venv) make_venv "${2:?DIR}" "${3:-requirements.lock}" ;;
servers) make_servers ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
