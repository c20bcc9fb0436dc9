{#-
    What a percentage price makes of each event by itself: [units that are free, what the others cost].

    Events follow one another by time (of two at the same instant, by key), whatever order they arrived in. An event is free while
    no more than free_events have come and no more than free_amount has been brought; of the event that passes free_amount, what
    lies beyond it is charged. Each event that is charged costs its rate and fixed_per_event, at least minimum_per_event and at
    most maximum_per_event. Asked only for prices that say any of this.
-#}
{% macro event_charges(measured) -%}
    (
        select array[
            sum(events.quantity - events.charged_quantity),
            sum(events.is_charged::integer * least(
                greatest(
                    events.charged_quantity * events.rate + {{ measured }}.fixed_per_event, events.minimum_per_event
                ),
                events.maximum_per_event
            ))
        ]
        from (
            select
                followed.*,
                followed.place > followed.free_events or followed.brought > followed.free_amount as is_charged,
                case
                    when followed.place > followed.free_events then followed.quantity
                    else least(followed.quantity, greatest(followed.brought - followed.free_amount, 0))
                end as charged_quantity
            from (
                select
                    told.quantity / {{ measured }}.unit_divisor as quantity,
                    row_number() over in_time as place,
                    sum(told.quantity / {{ measured }}.unit_divisor) over in_time as brought,
                    price.rate,
                    price.minimum_per_event,
                    price.maximum_per_event,
                    -- What is free by one of both rules alone is not limited by the other.
                    coalesce(price.free_events, case when price.free_amount is null then 0 else 'infinity'::numeric end) as free_events,
                    coalesce(price.free_amount, case when price.free_events is null then 0 else 'infinity'::numeric end) as free_amount
                from unnest({{ measured }}.told_apart) as told
                cross join (
                    select
                        tiers.unit_amount as rate,
                        nullif((versions.parameters ->> 'free_events')::numeric, 0) as free_events,
                        nullif((versions.parameters ->> 'free_amount')::numeric, 0) as free_amount,
                        coalesce((versions.parameters ->> 'minimum_per_event')::numeric, 0) as minimum_per_event,
                        coalesce((versions.parameters ->> 'maximum_per_event')::numeric, 'infinity'::numeric) as maximum_per_event
                    from {{ source('billing', 'price_versions') }} as versions
                    inner join {{ source('billing', 'price_tiers') }} as tiers
                        on tiers.price_version_id = versions.price_version_id and tiers.tier = 1
                    where versions.price_version_id = {{ measured }}.price_version_id
                ) as price
                window in_time as (order by told.decided_at, told.member rows unbounded preceding)
            ) as followed
        ) as events
    )
{%- endmacro %}

{#- Of a capacity price, the highest tier that the usage of any value of its dimension reaches. -#}
{% macro highest_tier_reached(measured) -%}
    (
        select max(reached.tier)
        from (
            select min(tiers.tier) as tier
            from unnest({{ measured }}.told_apart) as told
            inner join {{ source('billing', 'price_tiers') }} as tiers
                on tiers.price_version_id = {{ measured }}.price_version_id
                and coalesce(told.quantity / {{ measured }}.unit_divisor <= (tiers.limits ->> told.member)::numeric, true)
            group by told.member
        ) as reached
    )
{%- endmacro %}
