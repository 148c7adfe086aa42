"""Products, customers, orders with their items and timeline."""

import sqlalchemy as sa
from alembic import op

from shared import erased_users, sealed_contacts
from shared.migrations.runner import run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# A restored database gave away these numbers before, and orders that were decided are pending again. The generation is
# in seconds: 20 numbers for each exceed what the orders of that time have taken.
CONTINUE_AFTER_LOSS = """
CREATE FUNCTION continue_after_loss() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM setval('order_number', greatest(nextval('order_number'), NEW.generation * 20));
    -- The replies about their credit are read again first. An order that is locked is being decided just now.
    UPDATE customer_order SET deadline = clock_timestamp() + interval '15 minutes', version = version + 1,
                              updated_at = clock_timestamp()
    WHERE id = ANY(ARRAY(
        SELECT id FROM customer_order
        WHERE status = 'pending' AND deadline < clock_timestamp() + interval '15 minutes'
        FOR UPDATE SKIP LOCKED
    ));
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    # A trusted extension: the database's owner may create it. A downgrade keeps it, because others may use it.
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.execute("CREATE SEQUENCE order_number")
    _create_product()
    op.create_table(
        "customer",
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_customer"),
    )
    run_script(sealed_contacts.SCHEMA_UP)
    run_script(erased_users.SCHEMA_UP)
    _create_order()
    _create_overdue_order()
    op.create_table(
        "order_item",
        sa.Column("order_id", sa.Uuid, nullable=False),
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("unit_price_cents", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("order_id", "sku", name="pk_order_item"),
        sa.ForeignKeyConstraint(["order_id"], ["customer_order.id"], name="fk_order_item_order_id"),
        sa.ForeignKeyConstraint(["sku"], ["product.sku"], name="fk_order_item_sku"),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_order_item_quantity_positive")),
        sa.CheckConstraint("unit_price_cents BETWEEN 1 AND 1000000000000000", name=op.f("ck_order_item_unit_price")),
    )
    op.create_table(
        "order_timeline",
        sa.Column("order_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(16), nullable=False),
        sa.Column("actor_id", sa.Uuid),
        sa.Column("reason", sa.Text),
        sa.Column("amount_cents", sa.BigInteger),
        sa.PrimaryKeyConstraint("order_id", "id", name="pk_order_timeline"),
        sa.ForeignKeyConstraint(["order_id"], ["customer_order.id"], name="fk_order_timeline_order_id"),
    )
    op.execute(CONTINUE_AFTER_LOSS)
    op.execute(
        "CREATE TRIGGER continue_after_loss AFTER INSERT ON stream_generation"
        " FOR EACH ROW EXECUTE FUNCTION continue_after_loss()"
    )


def _create_product() -> None:
    op.create_table(
        "product",
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("price_cents", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("stock", sa.Integer, nullable=False),
        sa.Column("reserved", sa.Integer, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("sku", name="pk_product"),
        sa.CheckConstraint("price_cents BETWEEN 1 AND 1000000000000000", name=op.f("ck_product_price")),
        sa.CheckConstraint("reserved >= 0 AND reserved <= stock", name=op.f("ck_product_reserved_within_stock")),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_product_currency_code")),
        # Every order updates its products' rows: free space in each page lets PostgreSQL update them without touching
        # the indexes.
        postgresql_with={"fillfactor": 70},
    )
    op.create_index(
        "ix_product_name_trigrams",
        "product",
        ["name"],
        postgresql_using="gin",
        postgresql_ops={"name": "gin_trgm_ops"},
    )


def _create_order() -> None:
    op.create_table(
        "customer_order",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("total_cents", sa.BigInteger, nullable=False),
        sa.Column("refunded_cents", sa.BigInteger, nullable=False),
        sa.Column("units", sa.Integer, nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_customer_order"),
        sa.UniqueConstraint("number", name="uq_customer_order_number"),
        sa.CheckConstraint(
            "status IN ('pending', 'confirmed', 'rejected', 'cancelled', 'shipped', 'delivered', 'refunded')",
            name=op.f("ck_customer_order_status_known"),
        ),
        sa.CheckConstraint("total_cents BETWEEN 1 AND 1000000000000000", name=op.f("ck_customer_order_total")),
        sa.CheckConstraint("units > 0", name=op.f("ck_customer_order_units_positive")),
        sa.CheckConstraint(
            "refunded_cents >= 0 AND refunded_cents <= total_cents",
            name=op.f("ck_customer_order_refunded_within_total"),
        ),
    )
    op.create_index("ix_customer_order_user_id_id", "customer_order", ["user_id", "id"])
    op.create_index("ix_customer_order_status_id", "customer_order", ["status", "id"])
    op.create_index(
        "ix_customer_order_deadline_pending",
        "customer_order",
        ["deadline"],
        postgresql_where=sa.text("status = 'pending'"),
    )
    # Counts a customer's pending orders, and their units, when another one is placed.
    op.create_index(
        "ix_customer_order_user_id_pending",
        "customer_order",
        ["user_id"],
        postgresql_include=["units"],
        postgresql_where=sa.text("status = 'pending'"),
    )


def _create_overdue_order() -> None:
    op.create_table(
        "overdue_order",
        sa.Column("order_id", sa.Uuid, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("order_id", name="pk_overdue_order"),
        sa.ForeignKeyConstraint(
            ["order_id"], ["customer_order.id"], name="fk_overdue_order_order_id", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER continue_after_loss ON stream_generation")
    op.execute("DROP FUNCTION continue_after_loss")
    for table in ("overdue_order", "order_timeline", "order_item", "customer_order", "customer", "product"):
        op.drop_table(table)
    run_script(erased_users.SCHEMA_DOWN)
    run_script(sealed_contacts.SCHEMA_DOWN)
    op.execute("DROP SEQUENCE order_number")
