#!/bin/sh
# Trains a classifier for Fisher's irises: multinomial logistic regression by
# gradient descent, in nothing but a POSIX shell and awk.
#
#   train.sh --data gs://BUCKET/iris.csv --output gs://BUCKET/DIR/
#
# Every option also reads as --name=value, the form in which Vertex AI passes
# the parameters of a tuning trial:
#   --data URI            the table: four measurements and the species
#   --output URI          where metrics.json goes
#   --model URI           where model.json goes (AIP_MODEL_DIR, or model/ in the output)
#   --epochs N            passes over the training rows (300)
#   --learning-rate X     size of a step (0.5)
#   --shuffle-labels SEED give the rows each other's species: nothing is left to learn
#   --evaluate URI        train nothing, judge the model in this directory
#   --executor-input JSON what Vertex AI Pipelines says about the task ('{{$}}')
set -eu

fail() { echo "train.sh: $*" >&2; exit 2; }

# Vertex AI mounts all buckets of Cloud Storage below /gcs.
local_path() {
    mount=${CLOUD_STORAGE_MOUNT:-/gcs}
    case $1 in
        gs://*) printf '%s/%s\n' "${mount%/}" "${1#gs://}" ;;
        /gcs/*) printf '%s/%s\n' "${mount%/}" "${1#/gcs/}" ;;
        *) printf '%s\n' "$1" ;;
    esac
}

# The directory as a path that ends in one slash; created if need be.
local_dir() {
    dir=$(local_path "$1")
    mkdir -p "$dir"
    printf '%s/\n' "${dir%/}"
}

data= output= model=${AIP_MODEL_DIR:-} epochs=300 rate=0.5 seed= evaluate= executor_input=
while [ $# -gt 0 ]; do
    case $1 in
        --*=*) name=${1%%=*} value=${1#*=}; shift ;;
        --*) [ $# -gt 1 ] || fail "$1 wants a value"; name=$1 value=$2; shift 2 ;;
        *) fail "unexpected argument $1" ;;
    esac
    case $name in
        --data) data=$value ;;
        --output) output=$value ;;
        --model) model=$value ;;
        --epochs) epochs=$value ;;
        --learning-rate) rate=$value ;;
        --shuffle-labels) seed=$value ;;
        --evaluate) evaluate=$value ;;
        --executor-input) executor_input=$value ;;
        *) fail "unknown option $name" ;;
    esac
done
case $epochs in '' | *[!0-9]*) fail "--epochs $epochs is no whole number" ;; esac
case $seed in *[!0-9]*) fail "--shuffle-labels $seed is no whole number" ;; esac
case $rate in '' | *[!0-9.eE+-]*) fail "--learning-rate $rate is no number" ;; esac
[ -n "$data" ] || fail "--data is missing"
[ -n "$output$model$evaluate" ] || fail "--output is missing"

# The trials of a tuning job share one output directory.
if [ -n "$output" ]; then
    output=$(local_dir "${output%/}/${CLOUD_ML_TRIAL_ID:-}")
    : "${model:=${output}model/}"
fi
if [ -z "$evaluate" ]; then model=$(local_dir "$model")model.json
else model=$(local_path "$evaluate"); model=${model%/}/model.json; fi
table=$(local_path "$data")
[ -r "$table" ] || fail "cannot read $data"
[ -z "$evaluate" ] || [ -r "$model" ] || fail "cannot read the model in $evaluate"

metrics=$(mktemp)
trap 'rm -f "$metrics"' EXIT

awk -F, -v epochs="$epochs" -v rate="$rate" -v seed="$seed" \
    -v model="$model" -v evaluate="$evaluate" -v metrics="$metrics" '
    # Fails in words: what awk makes of a bad table is a bad model.
    function fail(text) { failed = 1; print "train.sh: " text > "/dev/stderr"; exit 2 }

    # Park and Miller, exact in a double: the rand() of each awk is another one.
    function random(below) { seed = seed * 16807 % 2147483647; return seed % below }

    function shuffle_labels(    i, j, swap) {
        seed = seed % 2147483646 + 1
        for (i = 0; i < 10; i++) random(1)
        for (i = rows; i > 1; i--) {
            j = random(i) + 1
            swap = label[i]; label[i] = label[j]; label[j] = swap
        }
    }

    # Every fifth row is held out: ten of each species.
    function is_held_out(i) { return i % 5 == 0 }

    function standardise(    i, f, sum, squares, count) {
        for (f = 1; f <= features; f++) {
            sum = squares = count = 0
            for (i = 1; i <= rows; i++) if (!is_held_out(i)) {
                sum += x[i, f]; squares += x[i, f] * x[i, f]; count++
            }
            mean[f] = sum / count
            scale[f] = sqrt(squares / count - mean[f] * mean[f])
            if (scale[f] == 0) scale[f] = 1
        }
    }

    # Fills p[class] for row i and returns the likeliest class.
    function predict(i,    c, f, top, best, sum) {
        for (c = 1; c <= classes; c++) {
            p[c] = bias[c]
            for (f = 1; f <= features; f++) p[c] += weight[c, f] * (x[i, f] - mean[f]) / scale[f]
            if (c == 1 || p[c] > top) { top = p[c]; best = c }
        }
        for (c = 1; c <= classes; c++) { p[c] = exp(p[c] - top); sum += p[c] }
        for (c = 1; c <= classes; c++) p[c] /= sum
        return best
    }

    # Sets loss and accuracy over the held-out rows, or over the others.
    function judge(held_out,    i, right) {
        loss = judged = right = 0
        for (i = 1; i <= rows; i++) if (is_held_out(i) == held_out) {
            right += predict(i) == label[i]
            loss -= log(p[label[i]] + 1e-15)
            judged++
        }
        loss /= judged
        accuracy = right / judged
    }

    function train(    epoch, i, c, f, step, every) {
        for (c = 1; c <= classes; c++) {
            bias[c] = 0
            for (f = 1; f <= features; f++) weight[c, f] = 0
        }
        every = epochs < 10 ? 1 : int(epochs / 10)
        for (epoch = 1; epoch <= epochs; epoch++) {
            split("", slope)
            for (i = 1; i <= rows; i++) if (!is_held_out(i)) {
                predict(i)
                for (c = 1; c <= classes; c++) {
                    step = p[c] - (label[i] == c)
                    slope[c, 0] += step
                    for (f = 1; f <= features; f++)
                        slope[c, f] += step * (x[i, f] - mean[f]) / scale[f]
                }
            }
            for (c = 1; c <= classes; c++) {
                bias[c] -= rate * slope[c, 0] / trained
                for (f = 1; f <= features; f++) weight[c, f] -= rate * slope[c, f] / trained
            }
            if (epoch % every == 0 || epoch == epochs) {
                judge(0)
                printf "epoch %d/%d loss=%.4f accuracy=%.4f\n", epoch, epochs, loss, accuracy
                fflush()
            }
        }
    }

    # [a,b,…] of numbers, or of texts when quote is a double quote.
    function list(array, count, prefix, quote,    i, text) {
        for (i = 1; i <= count; i++)
            text = text (i > 1 ? "," : "") \
                (quote == "" ? sprintf("%.12g", array[prefix i]) : quote array[i] quote)
        return "[" text "]"
    }

    # One key a line, which is all that load() understands.
    function save(    c, text) {
        for (c = 1; c <= classes; c++)
            text = text (c > 1 ? "," : "") list(weight, features, c SUBSEP, "")
        printf "{\"classes\":%s,\n\"features\":%s,\n", \
            list(class, classes, "", "\""), list(feature, features, "", "\"") > model
        printf "\"means\":%s,\n\"scales\":%s,\n", \
            list(mean, features, "", ""), list(scale, features, "", "") > model
        printf "\"weights\":[%s],\n\"biases\":%s}\n", text, list(bias, classes, "", "") > model
        close(model)
    }

    function load(    line, key, n, value, i, c) {
        while ((getline line < model) > 0) {
            key = line; sub(/^[{]?"/, "", key); sub(/".*/, "", key)
            sub(/^[^:]*:/, "", line); gsub(/[^-+.,0-9eE]/, "", line)
            n = split(line, value, ",")
            if (key == "means") for (i = 1; i <= features; i++) mean[i] = value[i] + 0
            if (key == "scales") for (i = 1; i <= features; i++) scale[i] = value[i] + 0
            if (key == "biases") for (i = 1; i <= classes; i++) bias[i] = value[i] + 0
            if (key == "weights") for (c = 1; c <= classes; c++)
                for (i = 1; i <= features; i++) weight[c, i] = value[(c - 1) * features + i] + 0
        }
    }

    NR == 1 {
        features = NF - 1
        if (features < 1) fail("the table has no columns")
        for (f = 1; f <= features; f++) feature[f] = $f
        next
    }
    NF != features + 1 { fail("line " NR " of the table has " NF " columns") }
    {
        sub(/\r$/, "", $NF)
        for (f = 1; f <= features; f++) x[NR - 1, f] = $f + 0
        if (!($NF in number)) { class[++classes] = $NF; number[$NF] = classes }
        label[++rows] = number[$NF]
    }
    END {
        if (failed) exit 2
        if (rows < 10) fail("the table has fewer than ten rows")
        trained = rows - int(rows / 5)
        if (seed != "") shuffle_labels()
        if (evaluate != "") load()
        else { standardise(); train(); save() }
        judge(1)
        printf "held-out rows: %d, accuracy %.4f, loss %.4f\n", judged, accuracy, loss
        printf "{\"accuracy\":%.6f,\"loss\":%.6f,\"rows_train\":%d,\"rows_test\":%d}\n", \
            accuracy, loss, trained, judged > metrics
    }
' "$table"

[ -z "$output" ] || cp "$metrics" "${output}metrics.json"

# A tuning job reads each trial from a file of JSON lines.
if [ -n "${CLOUD_ML_HP_METRIC_FILE:-}" ]; then
    accuracy=$(sed 's/.*"accuracy":\([0-9.]*\).*/\1/' "$metrics")
    mkdir -p "$(dirname "$CLOUD_ML_HP_METRIC_FILE")"
    printf '{"timestamp":%s,"trial":"%s","accuracy":"%s","global_step":"%s"}\n' \
        "$(awk 'BEGIN { srand(); print srand() }')" "${CLOUD_ML_TRIAL_ID:-0}" \
        "$accuracy" "$epochs" >>"$CLOUD_ML_HP_METRIC_FILE"
fi

# A pipeline task describes its artifacts in a file; here, the metrics.
file=$(printf '%s\n' "$executor_input" | sed -n 's/.*"outputFile" *: *"\([^"]*\)".*/\1/p')
if [ -n "$file" ]; then
    file=$(local_path "$file")
    mkdir -p "$(dirname "$file")"
    printf '{"artifacts":{"metrics":{"artifacts":[{"metadata":%s}]}}}\n' \
        "$(cat "$metrics")" >"$file"
fi
