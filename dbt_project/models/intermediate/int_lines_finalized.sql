{{ config(tags=['deploy']) }}

select
    lines.team_id,
    lines.subscription_key,
    lines.period_start,
    lines.line_key,
    lines.kind,
    lines.about_period_start,
    -- An adjustment's key ends with the key of the line that it is about; a credit is about no usage, and is never adjusted.
    case lines.kind
        when 'adjustment' then split_part(lines.line_key, ' ', 3)
        when 'credit' then null
        else lines.line_key
    end as about_line_key,
    lines.meter_id,
    lines.price_version_id,
    lines.quantity,
    lines.charge_quantity,
    lines.amount,
    coalesce(lines.exact_amount, lines.amount) as exact_amount
from {{ source('billing', 'finalized_bill_lines') }} as lines
inner join {{ source('billing', 'finalized_bills') }} as bills
    on bills.team_id = lines.team_id
    and bills.subscription_key = lines.subscription_key
    and bills.period_start = lines.period_start
where bills.finalized_at <= {{ as_of() }}
