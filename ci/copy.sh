# Sourced: a copy of the sources, into which patches are planted and built in a target directory of its own (in a shared
# one cargo takes the copy's packages for the real ones).
root=$PWD
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
copy=$target/flaws/sources built_in=$target/flaws/target
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z | xargs -0 cp --parents --target-directory "$copy"

# build_with PATCH PROGRAM LOG: builds tautan-sim with the patch, and takes the patch out again.
build_with() {
    (cd "$copy" && patch --quiet -p1 <"$1") || { echo "$1 does not apply" >&2; return 1; }
    (cd "$copy" && CARGO_TARGET_DIR=$built_in cargo build --quiet --workspace --example tautan-sim 2>"$3") &&
        cp "$built_in/debug/examples/tautan-sim" "$2"
    local built=$?
    (cd "$copy" && patch --quiet --reverse -p1 <"$1")
    [ $built = 0 ] || echo "$1 does not build, see $3" >&2
    return $built
}

# The path of the binary of one test target, built as it is.
test_binary() {
    cargo test --workspace --test "$1" --no-run 2>&1 | sed -n 's/.*Executable .*(\(.*\))$/\1/p'
}
