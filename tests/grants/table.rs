//! What fails for want of each permission.

use crate::rights::Right;

/// Whoever lacks the right fails at the step, and somebody is told these words of it.
pub(crate) struct Row {
    pub(crate) right: Right,
    pub(crate) step: &'static str,
    pub(crate) told: &'static str,
}

/// Part, thing and permission; the step that fails; what is told of it in an error, in readiness or
/// in the ledger, if anything is.
const TABLE: &str = "
ci artifact_topic pubsub.topics.publish | CI publishes | User not authorized
ci artifact_bucket storage.objects.create | CI publishes | storage.objects.create
ci artifact_bucket storage.objects.get | CI publishes | storage.objects.get
ci artifact_bucket storage.objects.list | CI publishes | storage.objects.list
ci ledger_bucket storage.objects.get | CI waits for the end | storage.objects.get
ci ledger_bucket storage.objects.list | CI waits for the end | storage.objects.list
ci output_bucket storage.objects.get | CI fetches the model | storage.objects.get
ci output_bucket storage.objects.list | CI hears that the model is gone | storage.objects.get

worker subscription pubsub.subscriptions.consume | the worker takes it in | subscription: missing: pubsub.subscriptions.consume
worker run_event_topic pubsub.topics.publish | the commit shows it | pubsub.topics.publish
worker dead_letter_subscription pubsub.subscriptions.consume | the notifier gives an event up | dead-letter-subscription: missing: pubsub.subscriptions.consume
worker dead_letter_bucket storage.objects.create | what is refused is put away | storage.objects.create
worker dead_letter_bucket storage.objects.get | an operator replays it | storage.objects.get
worker dead_letter_bucket storage.objects.list | an operator hears that a letter is gone | storage.objects.get
worker artifact_topic pubsub.topics.publish | an operator replays it | pubsub.topics.publish
worker ledger_bucket storage.objects.create | the worker takes it in | storage.objects.create
worker ledger_bucket storage.objects.get | a custom job trains | storage.objects.get
worker ledger_bucket storage.objects.list | the worker takes it in | storage.objects.list
worker queue_bucket storage.objects.create | the worker takes it in | storage.objects.create
worker queue_bucket storage.objects.delete | what is over leaves the queue | storage.objects.delete
worker queue_bucket storage.objects.get | the worker takes it in | storage.objects.get
worker queue_bucket storage.objects.list | a custom job trains | storage.objects.list
worker queue_bucket storage.objects.update | the worker takes it in | storage.objects.update
worker request_bucket storage.objects.delete | an operator cancels a custom job | storage.objects.delete
worker request_bucket storage.objects.get | an operator cancels a custom job | storage.objects.get
worker request_bucket storage.objects.list | an operator cancels a custom job | storage.objects.list
worker artifact_bucket storage.objects.get | the worker takes it in | storage.objects.get
worker artifact_bucket storage.objects.list | an input that is gone is refused | storage.objects.get
worker output_bucket storage.objects.get | a custom job trains | storage.objects.get
worker output_bucket storage.objects.list | a custom job trains | storage.objects.list
worker staging_bucket storage.objects.create | the worker takes it in | storage.objects.create
worker staging_bucket storage.objects.get | a custom job trains | storage.objects.get
worker staging_bucket storage.objects.list | an input that vanishes is refused | storage.objects.get
worker training_project aiplatform.customJobs.cancel | an operator cancels a custom job | aiplatform.customJobs.cancel
worker training_project aiplatform.customJobs.create | a custom job trains | aiplatform.customJobs.create
worker training_project aiplatform.customJobs.get | a custom job trains | aiplatform.customJobs.get
worker training_project aiplatform.customJobs.list | a custom job trains | aiplatform.customJobs.list
worker training_project aiplatform.hyperparameterTuningJobs.cancel | an operator cancels a tuning job | aiplatform.hyperparameterTuningJobs.cancel
worker training_project aiplatform.hyperparameterTuningJobs.create | a tuning job trains | aiplatform.hyperparameterTuningJobs.create
worker training_project aiplatform.hyperparameterTuningJobs.get | a tuning job trains | aiplatform.hyperparameterTuningJobs.get
worker training_project aiplatform.hyperparameterTuningJobs.list | a tuning job trains | aiplatform.hyperparameterTuningJobs.list
worker training_project aiplatform.pipelineJobs.cancel | an operator cancels a pipeline | aiplatform.pipelineJobs.cancel
worker training_project aiplatform.pipelineJobs.create | a pipeline trains | aiplatform.pipelineJobs.create
worker training_project aiplatform.pipelineJobs.get | a pipeline trains | aiplatform.pipelineJobs.get
worker training_project aiplatform.pipelineJobs.list | a pipeline trains | aiplatform.pipelineJobs.list
worker training_project aiplatform.trainingPipelines.cancel | an operator cancels a training pipeline | aiplatform.trainingPipelines.cancel
worker training_project aiplatform.trainingPipelines.create | a training pipeline trains | aiplatform.trainingPipelines.create
worker training_project aiplatform.trainingPipelines.get | a training pipeline trains | aiplatform.trainingPipelines.get
worker training_project aiplatform.trainingPipelines.list | a training pipeline trains | aiplatform.trainingPipelines.list
worker training_account iam.serviceAccounts.actAs | a pipeline trains | iam.serviceAccounts.actAs

notifier subscription pubsub.subscriptions.consume | the commit shows it | subscription: missing: pubsub.subscriptions.consume
notifier dead_letter_topic pubsub.topics.publish | the notifier gives an event up | pubsub.topics.publish
notifier ledger_bucket storage.objects.get | the commit shows it | storage.objects.get
notifier ledger_bucket storage.objects.list | the commit shows it | storage.objects.list
notifier queue_bucket storage.objects.list | a closed merge request ends its run | storage.objects.list
notifier request_bucket storage.objects.create | a closed merge request ends its run | storage.objects.create

service_agent subscription pubsub.subscriptions.consume | Pub/Sub moves what nobody settles |
service_agent dead_letter_topic pubsub.topics.publish | Pub/Sub moves what nobody settles |
";

/// Every row.
pub(crate) fn rows() -> Vec<Row> {
    TABLE.lines().filter(|it| !it.is_empty()).map(row).collect()
}

fn row(line: &'static str) -> Row {
    let columns: Vec<_> = line.split('|').map(str::trim).collect();
    let [right, step, told] = columns[..] else { panic!("three columns: {line}") };
    let words: Vec<_> = right.split(' ').collect();
    let [party, on, permission] = words[..] else { panic!("three words: {right}") };
    Row { right: Right::new(party, on, permission), step, told }
}
